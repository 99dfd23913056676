/// The exit codes that other programs rely on.
module Ldr.Cli.ExitCode

let ok = 0
let badInput = 1
let badUsage = 2
let badRegistration = 3
let fault = 70
/// Stopped by Ctrl-C, as shells have it.
let interrupted = 130
