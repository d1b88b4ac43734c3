output "ready" {
  description = "Whether every service can serve."
  value       = data.balefire_platform.this.ready
}

output "endpoint" {
  description = "Where the commands reach it: export BALEFIRE_ADDR."
  value       = module.balefire.control_endpoint
}

output "try_it" {
  description = "A command that raises an escalation."
  value       = "printf '{\"event_type\": \"ai_security\", \"timestamp\": \"%s\", \"category\": \"prompt_attack\", \"severity\": \"high\", \"user_id\": \"ada@example.com\"}\\n' \"$(date -u +%FT%TZ)\" | balefire send - --wait --addr ${module.balefire.ingest_endpoint} && balefire escalations --addr ${module.balefire.control_endpoint}"
}
