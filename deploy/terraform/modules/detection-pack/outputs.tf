output "rules" {
  description = "Names of the rules that were made."
  value       = sort([for rule in balefire_rule.pack : rule.name])
}

output "receivers" {
  description = "Names of the receivers that were made."
  value       = sort([for receiver in balefire_receiver.pack : receiver.name])
}
