variable "binaries" {
  description = "Folder of the binaries, such as target/release."
  type        = string
}

variable "data_dir" {
  description = "Folder of everything that is kept: the log, credentials, checkpoints. It stays after destroy."
  type        = string
}

variable "nats_nodes" {
  description = "0: one process that keeps its own nats-server. 1 or 3: that many nats-servers, and each service a process of its own."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 3], var.nats_nodes)
    error_message = "Take 0, 1 or 3 nats-servers."
  }
}

variable "nats_server" {
  description = "The nats-server to run. Absent: the one on PATH. Without meaning where nats_nodes is 0."
  type        = string
  default     = null
}

variable "partitions" {
  description = "Partitions of the log, a power of two; fixed once the log exists."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 4, 8, 16, 32, 64], var.partitions)
    error_message = "Take a power of two, 1 to 64."
  }
}

variable "grpc_port" {
  description = "Port of gRPC on 127.0.0.1. With separate services the first of four: ingest, rule-engine, correlator, notifier."
  type        = number
  default     = 7400
}

variable "http_port" {
  description = "Port of HTTP on 127.0.0.1, likewise."
  type        = number
  default     = 7480
}

variable "nats_port" {
  description = "Port of the first nats-server; a cluster takes the next ones, and those 100 above for itself."
  type        = number
  default     = 4222
}

variable "allowed_lateness" {
  description = "How late an event may come and still count in windows, for sources without their own."
  type        = string
  default     = "1h"

  validation {
    condition     = can(regex("^[0-9]+(ms|s|m|h|d)$", var.allowed_lateness))
    error_message = "Take a span such as 250ms, 10s, 5m, 1h or 2d."
  }
}

variable "keys_file" {
  description = "File that says who may call. Absent: everybody on this machine may do everything."
  type        = string
  default     = null
}

variable "webhook" {
  description = "URL that is told of every escalation. Absent: nobody is told."
  type        = string
  default     = null
}
