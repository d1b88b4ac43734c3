# What cannot be is refused before anything starts.

variables {
  binaries = "."
  data_dir = "."
}

run "two_nodes_are_no_cluster" {
  command = plan
  variables {
    nats_nodes = 2
  }
  expect_failures = [var.nats_nodes]
}

run "partitions_are_a_power_of_two" {
  command = plan
  variables {
    partitions = 3
  }
  expect_failures = [var.partitions]
}

run "a_span_has_a_unit" {
  command = plan
  variables {
    allowed_lateness = "90"
  }
  expect_failures = [var.allowed_lateness]
}

run "separate_services_have_the_next_ports" {
  command = plan
  variables {
    nats_nodes = 3
    grpc_port  = 7500
  }
  assert {
    condition     = output.control_endpoint == "http://127.0.0.1:7501"
    error_message = "the rule-engine is the second service"
  }
  assert {
    condition     = output.ingest_endpoint == "http://127.0.0.1:7500"
    error_message = "ingest is the first service"
  }
}
