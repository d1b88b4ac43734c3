variable "binaries" {
  description = "Folder of the binaries."
  type        = string
  default     = "../../../../target/release"
}

variable "data_dir" {
  description = "Folder of the log."
  type        = string
  default     = "balefire-data"
}

variable "grpc_port" {
  description = "Port of gRPC on 127.0.0.1."
  type        = number
  default     = 7400
}

variable "http_port" {
  description = "Port of HTTP on 127.0.0.1."
  type        = number
  default     = 7480
}

variable "keys_file" {
  description = "Who may call; the tokens of it are var.tokens."
  type        = string
  default     = "keys.toml"
}

variable "tokens" {
  description = "A token with the scope operate for the platform and for each tenant."
  type = object({
    platform = string
    red      = string
    blue     = string
  })
  sensitive = true
}
