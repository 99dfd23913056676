module Ldr.Cli.Version

open System.Reflection

/// The program's version, such as 0.2.0.
let text: string =
    (nonNull (Assembly.GetExecutingAssembly().GetName().Version)).ToString 3
