/// Commands as a POSIX shell takes them.
module Ldr.Cli.Shell

open System

/// An argument as a shell takes it.
let quoted (argument: string) =
    let plain c =
        Char.IsAsciiLetterOrDigit c || "-_./:=,+@%".Contains(c: char)

    if argument <> "" && Seq.forall plain argument then
        argument
    else
        "'" + argument.Replace("'", "'\\''") + "'"

/// A command of ours.
let command (arguments: string list) : string =
    String.concat " " ("ldr-fs" :: List.map quoted arguments)
