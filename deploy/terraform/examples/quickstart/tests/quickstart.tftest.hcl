# Starts it, sets the pack, and ends it again. Takes binaries, data_dir and the ports from TF_VAR_….

run "applied" {
  assert {
    condition     = output.ready
    error_message = "not every service can serve"
  }
  assert {
    condition     = contains(module.pack.rules, "agent_out_of_bounds")
    error_message = "the pack is not there"
  }
}

run "nothing_to_do_the_second_time" {
  command = plan
  assert {
    condition     = output.ready
    error_message = "not every service can serve"
  }
}
