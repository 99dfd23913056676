namespace Ldr.Cli

open Ldr.Runtime

/// What the user asked for, as plain data.
type Command =
    | Train of
        {|
            Experiment: string
            Output: string option
            Resume: bool
            Assignments: string list
        |}
    | Register of
        {|
            Fixed: string
            Moving: string
            Model: string
            Moved: string option
            Transform: string option
            Labels: (string * string) option
            Alignment: Alignment option
            Volume: int option
        |}
    | Evaluate of
        {|
            Model: string
            Data: string
            Split: string
            Output: string option
            Seed: int
            Pairs: int
        |}
    | Inspect of file: string
    | Validate of experiment: string * assignments: string list

/// A command, and how it is to be carried out.
type Request =
    {
        Command: Command
        Threads: int option
        Cuda: bool
        Json: bool
        Verbose: bool
    }
