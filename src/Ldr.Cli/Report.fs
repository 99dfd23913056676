/// The command that a report shows.
module Ldr.Cli.Report

open System

/// An argument as a POSIX shell takes it.
let private quoted (argument: string) =
    let plain c =
        Char.IsAsciiLetterOrDigit c || "-_./:=,+@%".Contains(c: char)

    if argument <> "" && Seq.forall plain argument then
        argument
    else
        "'" + argument.Replace("'", "'\\''") + "'"

/// A command of ours as a shell takes it.
let command (arguments: string list) =
    String.concat " " ("ldr-fs" :: List.map quoted arguments)
