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

variable "webhook" {
  description = "URL that is told of every escalation, for trying out."
  type        = string
  default     = null
}
