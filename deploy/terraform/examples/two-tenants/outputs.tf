output "red_soc" {
  description = "Where red's receiver posts."
  value       = data.balefire_receiver.red.url
}

output "blue_receivers" {
  description = "The receivers that blue sees."
  value       = data.balefire_names.blue.names
}
