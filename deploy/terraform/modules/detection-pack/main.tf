# Rules, receivers and routes of a typical security operations centre, beside the baseline pack
# that `balefire up` has by itself.

terraform {
  required_version = ">= 1.11"
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

locals {
  all     = toset([for file in fileset("${path.module}/rules", "*.yml") : trimsuffix(file, ".yml")])
  enabled = var.rules == null ? local.all : setintersection(local.all, var.rules)
}

resource "balefire_rule" "pack" {
  for_each = local.enabled
  name     = each.key
  yaml     = templatefile("${path.module}/rules/${each.key}.yml", { at = var.thresholds })
  labels   = merge(var.labels, { pack = "soc" })
}

resource "balefire_receiver" "pack" {
  for_each       = var.receivers
  name           = each.key
  url            = each.value.url
  secret_env     = each.value.secret_env
  secret_file    = each.value.secret_file
  allow_loopback = each.value.allow_loopback
  allow_networks = each.value.allow_networks
  severity_min   = each.value.severity_min
  audiences      = each.value.audiences
  labels         = merge(var.labels, { pack = "soc" })
}

resource "balefire_route" "pack" {
  for_each     = var.routes
  name         = each.key
  receivers    = [for receiver in each.value.receivers : balefire_receiver.pack[receiver].name]
  severity_min = each.value.severity_min
  audiences    = each.value.audiences
  rules        = each.value.rules
  priority     = each.value.priority
  labels       = merge(var.labels, { pack = "soc" })
}
