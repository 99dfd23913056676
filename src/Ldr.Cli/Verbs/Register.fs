/// `register`: one pair of scans.
module Ldr.Cli.Verbs.Register

open System
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Cli.Verbs.RegisterSaid
open Ldr.Runtime.Registration

/// Registers with a network or without one, writes the files.
let private register
    (o: RegisterOptions)
    (context: Context)
    (inputs: Inputs)
    (options: RegistrationOptions)
    (registrar: Registrar)
    : Result<Said, Error> =
    Error.guard (fun () ->
        use stop = new Stopping()

        try
            let result =
                registrar.Register(
                    inputs.Fixed,
                    inputs.Moving,
                    options,
                    RegisterPair.progress context.Speaker,
                    stop.Token
                )

            let agreement = RegisterOverlap.measure inputs result
            context.Speaker.Say "writing"

            RegisterSaid.said
                {
                    Options = o
                    Inputs = inputs
                    Result = result
                    Agreement = agreement
                    InverseError = RegisterFiles.write o context inputs result
                }
        with :? OperationCanceledException ->
            Said.stopped "Stopped; nothing was written.")

let private run (o: RegisterOptions) (context: Context) : Result<Said, Error> =
    result {
        let! inputs = RegisterInputs.read context.Speaker o
        let! options = RegisterPair.options o inputs
        let register = register o context inputs options

        return!
            match inputs.Model with
            | None -> register (new Registrar())
            | Some model -> Engine.run context o.Treatment.Engine model.Path model.File register
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r
        return! Call.create (common r) (run options)
    }
