/// What `cohort` and `bids` say, and `segment` of many scans.
module Ldr.Cli.Verbs.CohortSaid

open System
open System.Globalization
open Ldr
open Ldr.Cli
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration.Quality

/// Lines of problems that are shown.
let private most = 20

/// What there is to tell of pairs, or of scans.
type Counts =
    {
        /// What is counted: pairs or scans.
        Noun: string
        Pairs: int
        Done: int
        Skipped: int
        Failed: string list
        /// Names and problems.
        Unusable: (string * string) list
        Seconds: float
        /// The JSON key of the file to look at, and the file.
        Page: string * string
    }

/// How work on many ended.
let ofSummary (noun: string) (page: string * string) (summary: CohortSummary) : Counts =
    {
        Noun = noun
        Pairs = summary.Pairs
        Done = summary.Done
        Skipped = summary.Skipped
        Failed = List.ofSeq summary.Failed
        Unusable = [ for pair in summary.Unusable -> pair.Id, pair.Problem ]
        Seconds = summary.Elapsed.TotalSeconds
        Page = page
    }

/// Says each pair that ends: how many, how fast, how long yet; at once what is wrong.
let progress (noun: string) (speaker: Speaker) : IProgress<CohortProgress> =
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
                    $", {perMinute} {noun}/min"

            let left =
                match Option.ofNullable now.Left with
                | Some left when now.Finished < now.Pairs -> $", {Progress.duration left} left"
                | _ -> ""

            speaker.Progress.Change(
                float now.Finished / float now.Pairs,
                $"{now.Finished} of {now.Pairs} {noun}{speed}{left}; {failed} failed, {unusable} unusable"
            )
    }

let private cut (page: string) (what: string) (lines: string list) =
    match lines.Length - most with
    | more when more > 0 -> List.truncate most lines @ [ $"{more} more {what}: see {page}" ]
    | _ -> lines

/// The answer, what is wrong once more, and the exit code.
let said (counts: Counts) : Said =
    let seconds = counts.Seconds.ToString("F1", CultureInfo.InvariantCulture)

    let key, page = counts.Page

    let json =
        Json.object
            [
                counts.Noun, Json.integer counts.Pairs
                "done", Json.integer counts.Done
                "skipped", Json.integer counts.Skipped
                "failed", Json.integer counts.Failed.Length
                "unusable", Json.integer counts.Unusable.Length
                "seconds", Json.number counts.Seconds
                key, Json.text page
                $"failed_{counts.Noun}", Json.texts counts.Failed
                $"unusable_{counts.Noun}",
                counts.Unusable
                |> List.map (fun (id, problem) ->
                    Json.object [ "id", Json.text id; "problem", Json.text problem ])
                |> Json.list
            ]

    { Said.lines
          [
              $"{counts.Pairs} {counts.Noun}: {counts.Done} done, {counts.Skipped} skipped, {counts.Failed.Length} failed, {counts.Unusable.Length} unusable; {seconds} s"
              $"look at {page}"
          ]
          json with
        Remarks =
            cut page "failed" [ for id in counts.Failed -> $"failed: {id}" ]
            @ cut page "unusable" [ for id, problem in counts.Unusable -> $"unusable: {id}: {problem}" ]
        Code =
            if not counts.Unusable.IsEmpty then ExitCode.badInput
            elif not counts.Failed.IsEmpty then ExitCode.badRegistration
            else ExitCode.ok
    }
