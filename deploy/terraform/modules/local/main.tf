# Balefire on this machine, for trying out and for tests: processes, not containers.
#
# Terraform does not see whether the processes still run: where one was killed, a plan says
# "no changes". `balefire status`, or the data source balefire_platform, tells how they are.

terraform {
  required_version = ">= 1.11"
}

locals {
  separate = var.nats_nodes > 0
  spec = {
    binaries    = abspath(var.binaries)
    data_dir    = abspath(var.data_dir)
    nats_nodes  = var.nats_nodes
    nats_server = var.nats_server
    partitions  = var.partitions
    ports = {
      grpc = var.grpc_port
      http = var.http_port
      nats = var.nats_port
    }
    flags = {
      balefire    = concat(local.keys, local.lateness, local.webhook)
      ingest      = concat(local.keys, local.lateness)
      rule-engine = local.keys
      correlator  = local.keys
      notifier    = concat(local.keys, local.webhook)
    }
  }
  keys     = var.keys_file == null ? [] : ["--keys", abspath(var.keys_file)]
  lateness = ["--allowed-lateness", var.allowed_lateness]
  webhook  = var.webhook == null ? [] : ["--webhook", var.webhook]
}

resource "terraform_data" "platform" {
  # A destroy provisioner sees nothing but this.
  input = {
    script = abspath("${path.module}/local.py")
    spec   = jsonencode(local.spec)
  }
  triggers_replace = [jsonencode(local.spec)]

  provisioner "local-exec" {
    command     = "python3 \"$SCRIPT\" start"
    environment = { SCRIPT = self.input.script, BALEFIRE_LOCAL = self.input.spec }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "python3 \"$SCRIPT\" stop"
    environment = { SCRIPT = self.input.script, BALEFIRE_LOCAL = self.input.spec }
  }
}
