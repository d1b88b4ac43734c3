# Two tenants on one platform. Rules are in force for both and are the platform's; receivers, routes
# and silences are each tenant's own, under a token of its own.

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
  keys_file = var.keys_file
}

provider "balefire" {
  endpoint = module.balefire.control_endpoint
  token    = var.tokens.platform
}

provider "balefire" {
  alias    = "red"
  endpoint = module.balefire.control_endpoint
  token    = var.tokens.red
}

provider "balefire" {
  alias    = "blue"
  endpoint = module.balefire.control_endpoint
  token    = var.tokens.blue
}

resource "balefire_tenant" "these" {
  for_each         = { red = "Red", blue = "Blue" }
  name             = each.key
  title            = each.value
  deletion_allowed = true
  depends_on       = [module.balefire]
}

module "rules" {
  source     = "../../modules/detection-pack"
  rules      = ["agent_out_of_bounds", "model_drifts"]
  depends_on = [module.balefire]
}

module "red" {
  source     = "../../modules/detection-pack"
  providers  = { balefire = balefire.red }
  rules      = []
  receivers  = { soc = { url = "https://red.example/hook" } }
  routes     = { all = { receivers = ["soc"] } }
  depends_on = [balefire_tenant.these]
}

module "blue" {
  source     = "../../modules/detection-pack"
  providers  = { balefire = balefire.blue }
  rules      = []
  receivers  = { soc = { url = "https://blue.example/hook" }, pager = { url = "https://pager.example/blue" } }
  routes     = { all = { receivers = ["soc", "pager"], severity_min = "high" } }
  depends_on = [balefire_tenant.these]
}

data "balefire_receiver" "red" {
  provider   = balefire.red
  name       = "soc"
  depends_on = [module.red, module.blue]
}

data "balefire_names" "blue" {
  provider   = balefire.blue
  kind       = "receiver"
  depends_on = [module.red, module.blue]
}
