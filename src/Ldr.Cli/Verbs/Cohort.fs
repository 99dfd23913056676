/// `cohort`: many pairs, each into a folder of its own, and a page about all.
module Ldr.Cli.Verbs.Cohort

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.CohortArguments

let private run (o: CohortRequest) (context: Context) : Result<Said, Error> =
    match o.Source with
    | None -> CohortRun.group o.Output context
    | Some source ->
        result {
            let! plan = CohortSource.read o source

            match o.Submission with
            | Some submission -> return! CohortSubmit.run o submission plan context
            | None -> return! CohortRun.run o plan context
        }

let parse
    (r: ParseResults<Arguments>)
    (pair: ParseResults<RegisterArguments.Arguments>)
    : Result<Call, string> =
    result {
        let! options = options r pair
        return! Call.create (RegisterArguments.common pair) (run options)
    }
