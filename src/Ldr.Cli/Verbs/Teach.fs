/// `teach EXPERIMENT`: a teacher's fields for every pair that a training will see.
module Ldr.Cli.Verbs.Teach

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli

type Arguments =
    | [<MainCommand; ExactlyOnce>] Experiment of file: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Training of name: string
    | Set of assignment: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Device of DeviceName
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Experiment _ -> "the experiment's file."
            | Output _ ->
                "the folder for the fields, one file for each pair; what is there already stays. Then train with --set train.NAME.distillation.teacher=FOLDER."
            | Training _ -> "the training whose pairs are meant (default: the only one that has a teacher)."
            | Set _ ->
                "change a value of the experiment: PATH=VALUE, such as train.student.distillation.teacher=runs/teacher/model.safetensors."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Device _ -> "where to compute."
            | Json -> "print one JSON object to stdout: store, pairs, wanted, made."
            | Verbose -> "show where a fault happened."

type private Options =
    {
        Experiment: string
        Output: string
        Training: string option
        Assignments: string list
    }

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! experiment =
            Usage.need "the experiment's file" (r.TryGetResult Arguments.Experiment)

        let! output = Usage.need "--output" (r.TryGetResult Output)

        return
            {
                Experiment = experiment
                Output = output
                Training = r.TryGetResult Training
                Assignments = r.GetResults Set
            }
    }

let private teach (o: Options) (reporter: Progress.Reporter) device experiment =
    use stop = new Stopping()

    Teach.execute
        {
            Folder = o.Output
            Training = o.Training
            Device = device
            Progress =
                fun made wanted -> reporter.Change(float made / float wanted, $"{made} of {wanted} fields")
            Caution = fun message -> reporter.Line $"warning: {message}"
            Stop = stop.Token
        }
        experiment

let private say (o: Options) (result: TeachResult) =
    let said =
        Said.both
            $"{o.Output} holds the fields of {result.Pairs} of {result.Wanted} pairs ({result.Made} made now)."
            (Json.object
                [
                    "store", Json.text o.Output
                    "pairs", Json.integer result.Pairs
                    "wanted", Json.integer result.Wanted
                    "made", Json.integer result.Made
                ])

    if result.Pairs = result.Wanted then
        said
    else
        { said with
            Remarks = [ "Stopped; the same command goes on." ]
            Code = ExitCode.interrupted
        }

let private run (o: Options) (context: Context) =
    result {
        let! resolved = Experiment.read o.Experiment o.Assignments
        let! experiment = Experiment.runnable o.Experiment resolved
        let! device = Device.choose context
        let! result = teach o context.Speaker.Progress device experiment
        return say o result
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write a teacher's fields for every pair that a training will see."
        More = "The training then reads them, instead of asking the teacher at every step."
        Groups = [ "What is run", [ "--training"; "--set" ]; "Outputs", [ "--output" ] ]
        Examples = [ "ldr-fs teach experiments/brain.json --training student --output fields" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r

        return!
            Call.create
                {
                    Threads = r.TryGetResult Threads
                    Cuda = (r.TryGetResult Device = Some Cuda)
                    Json = r.Contains Json
                    Verbose = r.Contains Verbose
                }
                (run options)
    }
