variable "rules" {
  description = "Names of the rules of the pack that are wanted. Absent: all of them."
  type        = set(string)
  default     = null
}

variable "thresholds" {
  description = "More than so many escalate."
  type = object({
    boundary_violations = optional(number, 5)
    users_of_one_key    = optional(number, 3)
    drifts_of_a_model   = optional(number, 3)
    blocks_of_a_session = optional(number, 20)
  })
  default = {}

  validation {
    condition     = alltrue([for n in values(var.thresholds) : n >= 1 && floor(n) == n])
    error_message = "Thresholds are whole numbers of 1 and more."
  }
}

variable "receivers" {
  description = "Who is told, by name."
  type = map(object({
    url            = string
    secret_env     = optional(string)
    secret_file    = optional(string)
    allow_loopback = optional(bool)
    allow_networks = optional(list(string))
    severity_min   = optional(string)
    audiences      = optional(list(string))
  }))
  default = {}

  validation {
    condition     = alltrue([for receiver in values(var.receivers) : can(regex("^https?://[^/?#: ]", receiver.url))])
    error_message = "A receiver's url is an http or https address with a host."
  }
}

variable "routes" {
  description = "What is told to whom, by name; receivers are names of var.receivers."
  type = map(object({
    receivers    = list(string)
    severity_min = optional(string)
    audiences    = optional(list(string))
    rules        = optional(list(string))
    priority     = optional(number)
  }))
  default = {}
}

variable "labels" {
  description = "Words for people on everything that is made."
  type        = map(string)
  default     = {}
}
