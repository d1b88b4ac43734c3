# Who is told, and who is not. Driven by deploy/e2e/terraform_effects.py.

terraform {
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

provider "balefire" {
  reason = "the effects"
}

variable "hook" {
  type = string
}

variable "tier" {
  type = string
}

variable "silenced" {
  type    = bool
  default = false
}

resource "balefire_receiver" "soc" {
  name           = "soc"
  url            = var.hook
  allow_loopback = true
}

resource "balefire_receiver" "night" {
  name           = "night"
  url            = var.hook
  allow_loopback = true
}

resource "balefire_route" "attacks" {
  name      = "attacks"
  receivers = [balefire_receiver.soc.name]
  matchers = {
    category = "prompt_attack"
  }
}

resource "balefire_severity_map" "soc" {
  name = "soc"
  tiers = {
    high     = var.tier
    critical = var.tier
  }
}

resource "balefire_identity_alias" "ada" {
  name           = "ada"
  identity_kind  = "api_key"
  alias          = "key-7f3a"
  canonical_kind = "user"
  canonical      = "ada@example.com"
  attributes = {
    manager = "grace@example.com"
  }
}

resource "balefire_source" "chat" {
  name = "acme-chat"
  fields = {
    event_id   = "id"
    timestamp  = "ts"
    category   = "kind"
    api_key_id = "key"
  }
  words = {
    "category.deny" = "guardrail_block"
  }
}

resource "balefire_silence" "quiet" {
  count   = var.silenced ? 1 : 0
  name    = "quiet"
  rules   = ["prompt_attack"]
  ends_at = "2099-01-01T00:00:00Z"
  reason  = "a red-team exercise"
}
