/// `register`: one pair of scans.
module Ldr.Cli.Verbs.Register

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Cli.Verbs.RegisterSaid

/// Registers with a network or without one, writes the files.
let private register
    (o: RegisterOptions)
    (context: Context)
    (inputs: Inputs)
    (options: PairOptions)
    (network: RegisterByNetwork option)
    : Result<Said, Error> =
    Error.guard (fun () ->
        let outcome = RegisterPair.run context.Speaker network options inputs
        let agreement = RegisterOverlap.measure inputs outcome.Registered
        context.Speaker.Say "writing"

        RegisterSaid.said
            {
                Options = o
                Inputs = inputs
                Outcome = outcome
                Agreement = agreement
                InverseError = RegisterFiles.write o context inputs outcome
            })

let private run (o: RegisterOptions) (context: Context) : Result<Said, Error> =
    result {
        let! inputs = RegisterInputs.read context.Speaker o
        let! options = RegisterPair.options context.Speaker o inputs
        let register = register o context inputs options

        return!
            match inputs.Model with
            | None -> register None
            | Some model -> Engine.run context o.Engine model.Path model.File (Some >> register)
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r
        return! Call.create (common r) (run options)
    }
