# Each tenant sees its own objects and no others. Takes binaries, data_dir and the ports from TF_VAR_….

variables {
  tokens = {
    platform = "example-token-of-the-platform"
    red      = "example-token-of-red"
    blue     = "example-token-of-blue"
  }
}

run "each_has_its_own" {
  assert {
    condition     = output.red_soc == "https://red.example/hook"
    error_message = "red's receiver is not red's"
  }
  assert {
    condition     = output.blue_receivers == tolist(["pager", "soc"])
    error_message = "blue sees other receivers than its own"
  }
}
