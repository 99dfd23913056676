/// What `cohort` and `bids` say.
module Ldr.Cli.Verbs.CohortSaid

open System
open System.Globalization
open Ldr
open Ldr.Cli
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration.Quality

/// Lines of problems that are shown.
let private most = 20

/// What there is to tell of pairs.
type Counts =
    {
        Pairs: int
        Done: int
        Skipped: int
        Failed: string list
        /// Names and problems.
        Unusable: (string * string) list
        Seconds: float
        Page: string
    }

/// Says each pair that ends: how many, how fast, how long yet; at once what is wrong.
let progress (speaker: Speaker) : IProgress<CohortProgress> =
    let mutable failed, unusable = 0, 0

    { new IProgress<CohortProgress> with
        member _.Report now =
            match now.Last.State, Option.ofNullable now.Last.Verdict with
            | PairState.Unusable, _ ->
                unusable <- unusable + 1
                speaker.Progress.Line(Plain.text $"unusable: {now.Last.Id}: {now.Last.Problem}")
            | _, Some Verdict.Failed ->
                failed <- failed + 1
                speaker.Progress.Line $"failed: {now.Last.Id}"
            | _ -> ()

            let speed =
                if now.Done = 0 then
                    ""
                else
                    let perMinute = now.PairsPerMinute.ToString("G3", CultureInfo.InvariantCulture)
                    $", {perMinute} pairs/min"

            let left =
                match Option.ofNullable now.Left with
                | Some left when now.Finished < now.Pairs -> $", {Progress.duration left} left"
                | _ -> ""

            speaker.Progress.Change(
                float now.Finished / float now.Pairs,
                $"{now.Finished} of {now.Pairs} pairs{speed}{left}; {failed} failed, {unusable} unusable"
            )
    }

let private cut (what: string) (lines: string list) =
    match lines.Length - most with
    | more when more > 0 -> List.truncate most lines @ [ $"{more} more {what}: see the group page" ]
    | _ -> lines

/// The answer, what is wrong once more, and the exit code.
let said (counts: Counts) : Said =
    let seconds = counts.Seconds.ToString("F1", CultureInfo.InvariantCulture)

    let json =
        Json.object
            [
                "pairs", Json.integer counts.Pairs
                "done", Json.integer counts.Done
                "skipped", Json.integer counts.Skipped
                "failed", Json.integer counts.Failed.Length
                "unusable", Json.integer counts.Unusable.Length
                "seconds", Json.number counts.Seconds
                "group", Json.text counts.Page
                "failed_pairs", Json.texts counts.Failed
                "unusable_pairs",
                counts.Unusable
                |> List.map (fun (id, problem) ->
                    Json.object [ "id", Json.text id; "problem", Json.text problem ])
                |> Json.list
            ]

    { Said.lines
          [
              $"{counts.Pairs} pairs: {counts.Done} done, {counts.Skipped} skipped, {counts.Failed.Length} failed, {counts.Unusable.Length} unusable; {seconds} s"
              $"look at {counts.Page}"
          ]
          json with
        Remarks =
            cut "failed" [ for id in counts.Failed -> $"failed: {id}" ]
            @ cut "unusable" [ for id, problem in counts.Unusable -> $"unusable: {id}: {problem}" ]
        Code =
            if not counts.Unusable.IsEmpty then ExitCode.badInput
            elif not counts.Failed.IsEmpty then ExitCode.badRegistration
            else ExitCode.ok
    }
