# A rule tried out on the log before it is there. Driven by deploy/e2e/terraform.py.

terraform {
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

provider "balefire" {
  preview = "12h"
}

variable "threshold" {
  type    = number
  default = 2
}

locals {
  yaml = <<-YAML
    title: A judge flag
    id: 4c26a9d5-7d0a-4a8e-9a52-5a3d5d6f0b01
    name: tried_flag
    status: stable
    logsource:
      product: ai_security
    detection:
      selection:
        category: judge_flag
      condition: selection
    level: low
    ---
    title: Judge flags for one user
    id: 4c26a9d5-7d0a-4a8e-9a52-5a3d5d6f0b02
    name: tried_flags
    status: stable
    correlation:
      type: event_count
      rules:
        - tried_flag
      group-by:
        - user_id
      timespan: 1h
      condition:
        gt: ${var.threshold}
    level: medium
  YAML
}

data "balefire_rule_preview" "tried" {
  name  = "tried"
  yaml  = local.yaml
  since = "12h"
}

resource "balefire_rule" "tried" {
  name = "tried"
  yaml = local.yaml
}

output "added" {
  value = data.balefire_rule_preview.tried.added
}

output "removed" {
  value = data.balefire_rule_preview.tried.removed
}

output "unchanged" {
  value = data.balefire_rule_preview.tried.unchanged
}

output "examples" {
  value = data.balefire_rule_preview.tried.examples
}
