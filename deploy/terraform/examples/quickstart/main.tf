# From nothing to the first escalation on one machine:
#
#   cargo build --release --bins
#   terraform -chdir=deploy/terraform/examples/quickstart init
#   terraform -chdir=deploy/terraform/examples/quickstart apply
#
# How Terraform finds the provider: docs/terraform.md.

terraform {
  required_version = ">= 1.11"
  required_providers {
    balefire = {
      source = "balefire/balefire"
    }
  }
}

module "balefire" {
  source    = "../../modules/local"
  binaries  = var.binaries
  data_dir  = var.data_dir
  grpc_port = var.grpc_port
  http_port = var.http_port
  webhook   = var.webhook
}

provider "balefire" {
  endpoint = module.balefire.control_endpoint
  reason   = "the quickstart"
}

module "pack" {
  source     = "../../modules/detection-pack"
  depends_on = [module.balefire]

  thresholds = {
    boundary_violations = 2
  }
  receivers = {
    soc = {
      url          = "https://soc.example/hooks/balefire"
      severity_min = "high"
    }
  }
  routes = {
    grave = {
      receivers    = ["soc"]
      severity_min = "high"
    }
  }
}

data "balefire_platform" "this" {
  depends_on = [module.pack]
}
