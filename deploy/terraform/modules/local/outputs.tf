# Known before apply, so that a provider block can take them.

output "ingest_endpoint" {
  description = "Where events are sent."
  value       = "http://127.0.0.1:${var.grpc_port}"
}

output "control_endpoint" {
  description = "Where rules and the rest are set, and escalations read: the provider's endpoint."
  value       = "http://127.0.0.1:${var.grpc_port + (local.separate ? 1 : 0)}"
}

output "http_endpoint" {
  description = "Where events are sent by HTTP."
  value       = "http://127.0.0.1:${var.http_port}"
}

output "data_dir" {
  description = "Where the log is."
  value       = abspath(var.data_dir)
}
