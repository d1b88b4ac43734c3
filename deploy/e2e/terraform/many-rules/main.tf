# As many rules as a large team has, at once. Driven by deploy/e2e/terraform.py.

terraform {
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

variable "rules" {
  type    = number
  default = 500
}

variable "severity" {
  type    = string
  default = "low"
}

resource "balefire_rule" "many" {
  for_each = toset([for number in range(var.rules) : format("many_%03d", number)])
  name     = each.key
  yaml     = <<-YAML
    title: One of many, ${each.key}
    id: ${uuidv5("dns", "${each.key}.balefire.example")}
    name: ${each.key}
    status: stable
    description: Model drift that one team wants to know of.
    logsource:
      product: ai_security
      category: model_drift
    detection:
      selection:
        category: model_drift
        labels.team: ${each.key}
      condition: selection
    level: ${var.severity}
  YAML
}
