# One object of every kind, and what tells of them. Driven by deploy/e2e/terraform.py.

terraform {
  required_version = ">= 1.11"
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

provider "balefire" {
  reason = "the acceptance test"
}

variable "token" {
  type      = string
  ephemeral = true
  sensitive = true
}

variable "token_version" {
  type    = number
  default = 1
}

variable "threshold" {
  type    = number
  default = 99
}

variable "deletion_allowed" {
  type    = bool
  default = true
}

resource "balefire_tenant" "red" {
  name             = "red"
  title            = "The red team's"
  deletion_allowed = var.deletion_allowed
}

resource "balefire_api_key" "gateway" {
  name             = "gateway"
  subject          = "payments-gateway"
  scopes           = ["ingest", "read"]
  token_wo         = var.token
  token_wo_version = var.token_version
  expires_at       = "2099-01-01T00:00:00Z"
}

resource "balefire_source" "gateway" {
  name            = "litellm"
  lateness        = "2h"
  clock_untrusted = false
  authority       = 50
  join_horizon    = "15m"
  hold            = "2s"
}

resource "balefire_severity_map" "gateway" {
  name   = "gateway"
  source = balefire_source.gateway.name
  words = {
    P1 = "critical"
    P2 = "high"
  }
}

resource "balefire_identity_alias" "ada" {
  name          = "ada"
  identity_kind = "user"
  alias         = "ada@old.example"
  canonical     = "ada@example.com"
}

resource "balefire_receiver" "soc" {
  name           = "soc"
  url            = "https://soc.example/hook"
  secret_env     = "SOC_SECRET"
  allow_networks = ["10.0.0.0/8"]
  severity_min   = "medium"
  audiences      = []
  concurrency    = 4
  labels = {
    team = "soc"
  }
}

resource "balefire_rule" "flags" {
  name = "flags"
  yaml = templatefile("${path.module}/flags.yml", { threshold = var.threshold })
}

resource "balefire_route" "flags" {
  name      = "flags"
  receivers = [balefire_receiver.soc.name]
  rules     = ["many_flags"]
  priority  = 10
}

resource "balefire_silence" "move" {
  name      = "move"
  rules     = ["many_flags"]
  starts_at = "2098-01-01T00:00:00Z"
  ends_at   = "2098-01-02T00:00:00Z"
  reason    = "the data centre moves"
}

data "balefire_platform" "this" {}

data "balefire_names" "receivers" {
  kind       = "receiver"
  depends_on = [balefire_receiver.soc]
}

data "balefire_receiver" "soc" {
  name = balefire_receiver.soc.name
}

output "ready" {
  value = data.balefire_platform.this.ready
}

output "receivers" {
  value = data.balefire_names.receivers.names
}

output "receiver_owner" {
  value = data.balefire_receiver.soc.managed_by
}
