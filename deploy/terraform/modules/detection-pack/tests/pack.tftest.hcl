# What the module makes of its variables; nothing is called.

mock_provider "balefire" {}

run "all_rules_without_a_choice" {
  command = plan
  assert {
    condition     = length(balefire_rule.pack) == length(fileset("rules", "*.yml"))
    error_message = "each file is a rule"
  }
}

run "thresholds_reach_the_rules" {
  command = plan
  variables {
    rules      = ["agent_out_of_bounds"]
    thresholds = { boundary_violations = 7 }
  }
  assert {
    condition     = keys(balefire_rule.pack) == ["agent_out_of_bounds"]
    error_message = "only the chosen rule"
  }
  assert {
    condition     = yamldecode(split("\n---\n", balefire_rule.pack["agent_out_of_bounds"].yaml)[1]).correlation.condition.gt == 7
    error_message = "the threshold is in the rule"
  }
}

run "a_threshold_is_a_whole_number" {
  command = plan
  variables {
    thresholds = { drifts_of_a_model = 0.5 }
  }
  expect_failures = [var.thresholds]
}

run "a_receiver_has_an_address" {
  command = plan
  variables {
    receivers = { soc = { url = "soc.example" } }
  }
  expect_failures = [var.receivers]
}

run "routes_name_the_receivers_of_the_pack" {
  command = plan
  variables {
    receivers = { soc = { url = "https://soc.example/hook" } }
    routes    = { grave = { receivers = ["soc"], severity_min = "high" } }
  }
  assert {
    condition     = balefire_route.pack["grave"].receivers == tolist(["soc"])
    error_message = "the route names the receiver"
  }
}
