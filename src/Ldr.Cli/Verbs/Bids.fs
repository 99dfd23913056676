/// `bids`: the scans of a BIDS folder registered to a template, under the names of BIDS derivatives.
module Ldr.Cli.Verbs.Bids

open System
open System.Text.Json
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.CohortArguments
open Ldr.Runtime.Groups

type LevelName =
    | Participant
    | Group

type Arguments =
    | [<MainCommand; Unique>] Folders of bids_dir: string * out_dir: string * level: LevelName
    | [<AltCommandLine("--participant_label")>] Participant_Label of labels: string list
    | [<AltCommandLine("--session_label")>] Session_Label of labels: string list
    | [<Unique>] Template of file: string
    | [<Unique>] Template_Name of label: string
    | [<Unique>] Suffix of suffix: string
    | [<Unique>] Space of label: string
    | [<Unique>] Desc of label: string
    | [<Unique>] Write of words: string
    | [<Unique>] Shard of number: string
    | [<Unique>] Jobs of count: int
    | [<Unique>] Memory of gigabytes: float
    | [<Unique>] Force
    | [<Unique>] Boutiques

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Folders _ ->
                "the BIDS data set (raw or derivatives), the folder for what is made, and participant (register) or group (write the group page)."
            | Participant_Label _ -> "only these participants, with or without sub- (default: all)."
            | Session_Label _ -> "only these sessions, with or without ses- (default: all)."
            | Template _ -> "register every scan to this one."
            | Template_Name _ ->
                "the template's name in the names of files, letters and digits (default: of its file)."
            | Suffix _ -> "the suffix of the scans (default: T1w)."
            | Space _ -> "the space entity of the scans (default: whatever they have)."
            | Desc _ -> "the desc entity of the scans, such as preproc (default: whatever they have)."
            | Write _ -> (CohortArguments.Write "" :> IArgParserTemplate).Usage
            | Shard _ -> (CohortArguments.Shard "" :> IArgParserTemplate).Usage
            | Jobs _ -> (CohortArguments.Jobs 1 :> IArgParserTemplate).Usage
            | Memory _ -> (CohortArguments.Memory 1.0 :> IArgParserTemplate).Usage
            | Force -> (CohortArguments.Force :> IArgParserTemplate).Usage
            | Boutiques -> "print the descriptor of this verb for Boutiques, and do nothing else."

/// The text of --help beside the options.
let help: Help =
    {
        What = "Register the scans of a BIDS folder to a template, as a BIDS app."
        More = "Files have the names of BIDS derivatives; level group writes the page to check them on."
        Groups =
            [
                "Inputs",
                [
                    "--template"
                    "--template-name"
                    "--participant-label"
                    "--session-label"
                    "--suffix"
                    "--space"
                    "--desc"
                ]
                "Outputs", [ "--write"; "--force"; "--boutiques" ]
                "Sharing the work", [ "--shard"; "--jobs"; "--memory" ]
            ]
        Examples = [ "ldr-fs bids BIDS OUT participant --template template.nii.gz --model none" ]
    }

/// What is registered of which folder.
type private Options =
    {
        Folder: string
        Query: BidsQuery
        Participants: string list
        Sessions: string list
        TemplateName: string
        Request: CohortRequest
    }

let private labels (prefix: string) (given: string list list) =
    given
    |> List.concat
    |> List.map (fun label -> if label.StartsWith prefix then label else prefix + label)

let private alphanumeric (text: string) =
    String.filter Char.IsAsciiLetterOrDigit text

let private plan (o: Options) (template: CohortScan) : Result<CohortPlan, Error> =
    Error.guard (fun () ->
        let scans = BidsFolder.Read(o.Folder, o.Query)
        let chosen = BidsFolder.Choose(o.Folder, scans, o.Participants, o.Sessions)
        BidsDerivatives.Pairs(chosen, template, o.TemplateName, o.Query.Suffix))

/// Writes what BIDS asks of a folder of derivatives, where nothing is there yet.
let private describe (o: Options) : Result<unit, Error> =
    Error.guard (fun () -> BidsDerivatives.Describe(o.Request.Output, o.Folder, "ldr-fs", Version.text))

let private run (o: Options) (context: Context) : Result<Said, Error> =
    match CohortSource.template o.Request with
    | None -> CohortRun.group o.Request.Output context
    | Some template ->
        result {
            let! plan = plan o template
            do! describe o
            return! CohortRun.run o.Request plan context
        }

let private query (r: ParseResults<Arguments>) : BidsQuery =
    BidsQuery(
        Suffix = r.GetResult(Suffix, BidsQuery().Suffix),
        Space = Option.toObj (r.TryGetResult Space),
        Desc = Option.toObj (r.TryGetResult Desc)
    )

let private options (r: ParseResults<Arguments>) (pair: ParseResults<RegisterArguments.Arguments>) =
    result {
        let! folder, output, level =
            Usage.need "BIDS_DIR OUT_DIR LEVEL" (r.TryGetResult Folders)

        let! template =
            match level with
            | Participant -> Usage.need "--template" (r.TryGetResult Template) |> Result.map Some
            | Group -> Ok None

        let asked: Asked =
            {
                Outputs = r.TryGetResult Write
                Shard = r.TryGetResult Shard
                Jobs = r.TryGetResult Jobs
                Gigabytes = r.TryGetResult Memory
                Force = r.Contains Force
            }

        let! request = request None output template asked pair

        let name =
            r.TryGetResult Template_Name
            |> Option.defaultWith (fun () -> template |> Option.map PairNames.Stem |> Option.defaultValue "")
            |> alphanumeric

        do! Usage.refuseIf (template.IsSome && name = "") "--template-name: give letters and digits"

        return
            {
                Folder = folder
                Query = query r
                Participants = labels "sub-" (r.GetResults Participant_Label)
                Sessions = labels "ses-" (r.GetResults Session_Label)
                TemplateName = name
                Request = request
            }
    }

/// The descriptor for Boutiques, as text.
let boutiques () : string =
    let own =
        ArgumentParser
            .Create<Arguments>(programName = "ldr-fs bids", checkStructure = false)
            .GetArgumentCases()
        |> List.filter (fun case -> case.Name.Value <> "--boutiques")

    let node =
        Ldr.Cli.Boutiques.descriptor
            "bids"
            "Registers the scans of a BIDS data set to a template, and makes a page to check them on."
            (own @ RegisterShared.cases.Value)
            [
                "group_page", "the page of all pairs", "[OUT_DIR]/group.html"
                "group_table", "the table of all pairs", "[OUT_DIR]/group.tsv"
                "description", "what BIDS asks of derivatives", "[OUT_DIR]/dataset_description.json"
            ]

    node.ToJsonString(JsonSerializerOptions(WriteIndented = true))

let parse
    (r: ParseResults<Arguments>)
    (pair: ParseResults<RegisterArguments.Arguments>)
    : Result<Call, string> =
    if r.Contains Boutiques then
        Call.create (CommonOptions.plain false false) (fun _ ->
            let text = boutiques ()
            Ok(Said.answer text (lazy text)))
    else
        result {
            let! options = options r pair
            return! Call.create (RegisterArguments.common pair) (run options)
        }
