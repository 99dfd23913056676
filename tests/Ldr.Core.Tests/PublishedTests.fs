/// ALDK as the paper has it, as one value.
module Ldr.Core.Tests.PublishedTests

open System.IO
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.TestKit.Repository

let private experiment name =
    Experiment.read (Path.Combine(root, "experiments", name + ".json")) []
    |> Error.orRaise

let private row name training =
    (experiment name).Train |> List.find (fun t -> t.Name = training)

/// The leaves of a JSON object, by their paths; a list is a leaf.
let rec private leaves (path: string) (node: JsonNode) : (string * string) list =
    match node with
    | :? JsonObject as o ->
        [
            for pair in o do
                yield! leaves (if path = "" then pair.Key else $"{path}.{pair.Key}") (nonNull pair.Value)
        ]
    | other -> [ path, other.ToJsonString() ]

/// What the page says of every key: value and source.
let private table =
    let page =
        File.ReadAllText(Path.Combine(root, "docs", "reference", "distillation.md"))

    let start = page.IndexOf "## As published"

    let section =
        page.Substring(start, page.IndexOf("### What the paper leaves open") - start)

    [
        for found in Regex.Matches(section, @"(?m)^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$") ->
            found.Groups[1].Value, (found.Groups[2].Value, found.Groups[3].Value)
    ]

let private read text =
    Codec.ofText "test.json" Distillation.codec text

let tests =
    testList
        "as published"
        [
            for name in [ "liver"; "brain" ] do
                test $"the row student-aldk of {name}.json has the paper's values, field by field" {
                    let resolved =
                        leaves "" (TrainingOptions.codec.Encode(row name "student-aldk"))
                        |> List.filter (fun (key, _) ->
                            List.exists
                                (fun (start: string) -> key = start || key.StartsWith(start + "."))
                                [
                                    "architecture"
                                    "steps"
                                    "batch"
                                    "accumulate"
                                    "learning_rate"
                                    "loss"
                                    "distillation"
                                ])

                    for key, value in resolved do
                        match List.tryFind (fst >> (=) key) table with
                        | None -> failtest $"docs/reference/distillation.md has no row for {key} = {value}"
                        | Some(_, (said, source)) ->
                            Expect.equal value said $"{key}, by {source}"

                            Expect.isTrue
                                (Regex.IsMatch(source, "paper|code|read|decay"))
                                $"{key}: its source"

                    Expect.equal
                        (List.map fst table |> Set.ofList)
                        (resolved |> List.map fst |> Set.ofList)
                        "no row more"
                }

            test "the values that tests of steps build on" {
                let d = Distillation.published
                Expect.equal (d.Objective, d.PenaltyPlayers) (MeanFeatures, BothPlayers) "the formula"
                Expect.equal (d.Beta, d.Penalty, d.Weight, d.FieldDistance) (0.1, 0.1, 1.0, 0.0) "its numbers"
                Expect.equal (Schedule.at d.Schedule 2).Gamma 0.3 "γ"
                Expect.isFalse d.Discriminator.FirstRelu "a linear first layer"
            }

            test "the four trainings of liver and brain differ in what they learn from only" {
                for name in [ "liver"; "brain" ] do
                    let students = (experiment name).Train.Tail

                    Expect.equal
                        (students |> List.map _.Name)
                        [ "student-reconstruction"; "student-aldk"; "student-distance" ]
                        name

                    let bare (t: TrainingOptions) =
                        { t with
                            Name = ""
                            Distillation = None
                        }

                    Expect.hasLength (students |> List.map bare |> List.distinct) 1 "one student"

                    Expect.equal
                        (students |> List.map _.Distillation)
                        [ None; Some Distillation.published; Some Distillation.recommended ]
                        "three ways to learn"
            }

            test "`student-aldk` is the published formula wherever an experiment has it" {
                for folder in [ "experiments"; "docs/lab/experiments" ] do
                    for file in Directory.GetFiles(Path.Combine(root, folder), "*.json") do
                        for training in (Experiment.read file [] |> Error.orRaise).Train do
                            if training.Name.Contains "aldk" then
                                let d = training.Distillation.Value

                                Expect.isTrue
                                    (d.Objective = MeanFeatures || d.Objective = SquaredGap)
                                    $"{file}: {training.Name}"

                                Expect.equal (d.Weight, d.FieldDistance) (1.0, 0.0) $"{file}: {training.Name}"
            }

            test "a preset fills in what is not said, and what is said wins" {
                let teacher = "old"
                let named (d: Distillation) = { d with Teacher = teacher }

                Expect.equal
                    (read """{"teacher": "old", "preset": "published"}""")
                    (Ok(named Distillation.published))
                    "published"

                Expect.equal
                    (read """{"preset": "recommended", "teacher": "old"}""")
                    (Ok(named Distillation.recommended))
                    "recommended"

                Expect.equal
                    (read
                        """{"teacher": "old", "preset": "published", "penalty": 0.4, "schedule": [{"cycle": [0]}], "discriminator": {"widths": [4, 8]}}""")
                    (Ok
                        { named Distillation.published with
                            Penalty = 0.4
                            Schedule =
                                [
                                    {
                                        Steps = None
                                        Cycle = [ 0.0 ]
                                        DiscriminatorMoves = None
                                    }
                                ]
                            Discriminator =
                                { DiscriminatorOptions.published with
                                    Widths = [ 4; 8 ]
                                }
                        })
                    "single keys, inside an object too"
            }

            test "what is written of a preset is full, and reads back without it" {
                for d in [ Distillation.published; Distillation.recommended ] do
                    let text = Codec.toLine Distillation.codec d
                    Expect.isFalse (text.Contains "preset") "no preset"
                    Expect.equal (read text) (Ok d) "back"
            }

            test "what was written before there were these keys means what it meant, and is written as it was" {
                let old =
                    """{"teacher":"teacher","objective":"squared-gap","weight":1,"field_distance":0,"field_weights":"even","field_derivatives":0,"beta":0.1,"penalty":0.1,"schedule":[{"steps":8000,"cycle":[1,1,0.3]},{"cycle":[1]}],"discriminator":{"widths":[4,8],"conditioned":false,"full_size":false},"discriminator_rate":0.0001}"""

                let d = read old |> Error.orRaise
                Expect.equal d.PenaltyPlayers DiscriminatorAlone "the penalty is the discriminator's"
                Expect.isTrue d.Discriminator.FirstRelu "a ReLU after the first layer"
                Expect.equal (Codec.toLine Distillation.codec d) old "so that digests stay"
            }

            test "experiments of former versions resolve to what they were" {
                // Resolved by the version before, as a run keeps it.
                let file = Path.Combine(root, "docs", "lab", "hippocampus", "experiment.json")
                let resolved = File.ReadAllText file
                let read = Experiment.read file [] |> Error.orRaise

                let ldr = read.Train |> List.find (fun t -> t.Name = "ldr-reconstruction")

                match ldr.Architecture with
                | Architecture.Cascade { Stage = stage } ->
                    Expect.equal stage (Stage.Ldr StudentWidths.slim) "the decoder that it was trained with"
                | other -> failtest $"{other}"

                Expect.isFalse (resolved.Contains "ldr-slim") "it says the widths themselves"

                // What makes that table again is the same training.
                let again =
                    Experiment.read
                        (Path.Combine(root, "docs", "lab", "experiments", "hippocampus-results.json"))
                        []
                    |> Error.orRaise

                for training in again.Train do
                    Expect.equal
                        (read.Train |> List.tryFind (fun t -> t.Name = training.Name))
                        (Some training)
                        training.Name
            }
        ]
