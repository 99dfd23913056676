namespace Ldr

open System
open System.IO
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// The table of a run: `table.md`, `table.json`, and a page of which it is a part.
module internal RunTable =
    /// The score sheets of a training, one for each seed.
    type private Sheets = string * ScoreSheet list

    /// What has scores of a test part so far: all seeds of a training together.
    let private sheets (plan: RunPlan) (part: string) : Result<Sheets list, Error> =
        result {
            let read (instance: Instance) =
                Codec.ofFile (RunFolder.scorePath plan.Folder instance.Name part) Scores.sheet

            let! all =
                plan.Experiment.Train
                |> List.traverseResultM (fun training ->
                    plan.Instances
                    |> List.filter (fun i -> i.Training = training.Name && plan.IsScored i)
                    |> List.traverseResultM read
                    |> Result.map (fun own -> training.Name, own))

            return all |> List.filter (fun (_, own) -> not own.IsEmpty)
        }

    let private scoresOf (sheets: ScoreSheet list) =
        sheets |> List.map _.Scores |> Scores.overSeeds

    let private rows (before: PairScore list) (sheets: Sheets list) : Summary list =
        let knownOf (own: ScoreSheet list) =
            own |> List.map _.KnownFields |> Scores.knownOverSeeds

        let knownBefore =
            match sheets with
            | [] -> []
            | (_, own) :: _ -> knownOf own

        Scores.untouched before knownBefore
        :: [
            for name, own in sheets do
                let size = own.Head.Parameters, own.Head.Macs

                { Scores.summarise name size before (scoresOf own) with
                    Seeds = own.Length
                    KnownFields = knownOf own
                }
        ]

    /// The comparisons that the experiment asks for, of trainings that have scores.
    let private comparisons (experiment: Experiment) (sheets: Sheets list) =
        let find name =
            sheets
            |> List.tryFind (fun (n, _) -> n = name)
            |> Option.map (fun (_, own) -> scoresOf own |> List.map _.Dice)

        [
            for first, second in experiment.Evaluation.Compare do
                match find first, find second with
                | Some a, Some b when Seq.forall Double.IsFinite (a @ b) ->
                    $"{first} − {second}", Wilcoxon.test (List.zip a b)
                | _ -> ()
        ]

    let private text (plan: RunPlan) (part: string) (test: EvaluationSet) (rows: Summary list) comparisons =
        // Some scans are read for their known fields alone.
        let scans =
            test.Pairs
            |> List.collect (fun (f, m) -> [ f; m ])
            |> List.distinct
            |> List.length

        let what =
            if part = "" then
                $"{scans} test subjects"
            else
                $"{scans} scans of part {part}"

        let known =
            match plan.Experiment.Evaluation.KnownField with
            | None -> ""
            | Some amplitude ->
                $" Known fields: {test.Known.Length} scans, {amplitude} mm on average in their content."

        [
            $"{test.Pairs.Length} pairs of {what} of {plan.Dataset.Name}; mean ± deviation over the pairs; one seed unless a row says more.{known}"
            ""
            Scores.toTable rows
            if not (List.isEmpty comparisons) then
                ""
                "Dice, paired (Wilcoxon's signed-rank test, two-sided):"
                ""

                for name, test in comparisons do
                    $"- {name}: {Scores.signed 4 test.MeanDifference}, {Scores.probability test.P}"
        ]
        |> String.concat "\n"

    /// The rows of one test part's table, how many of them were compared, and the table as text.
    let private ofPart
        (plan: RunPlan)
        (part: string, test: EvaluationSet)
        : Result<Summary list * int * string, Error> =
        result {
            let before =
                Evaluator.untouched plan.Experiment.Data.Alignment test plan.Options.Stop

            let! sheets = sheets plan part
            let rows = rows before sheets
            let comparisons = comparisons plan.Experiment sheets
            let text = text plan part test rows comparisons
            return rows |> List.map (fun row -> { row with Part = part }), comparisons.Length, text
        }

    let private pageStart, private pageEnd =
        "<!-- table: made by ldr-fs train -->", "<!-- end of the table -->"

    /// Writes a report into a page, between two comments; at the end of a page that lacks them.
    let private writePage (report: string) (path: string) =
        let text = if File.Exists path then File.ReadAllText path else ""
        let made = $"{pageStart}\n{report}\n{pageEnd}"
        let first = text.IndexOf(pageStart, StringComparison.Ordinal)
        let last = text.IndexOf(pageEnd, StringComparison.Ordinal)

        AtomicFile.WriteText(
            path,
            if first >= 0 && last > first then
                text[.. first - 1] + made + text[last + pageEnd.Length ..]
            else
                text + (if text = "" then "" else "\n") + made + "\n"
        )

    /// Writes the tables of all test parts; their rows, and whether any were compared.
    let write (plan: RunPlan) (data: RunData) : Result<Summary list * bool, Error> =
        result {
            let! tables = data.Tests |> List.traverseResultM (ofPart plan)
            let rows = tables |> List.collect (fun (rows, _, _) -> rows)
            let report = tables |> List.map (fun (_, _, text) -> text) |> String.concat "\n\n"
            let json = JsonArray([| for row in rows -> Scores.toJson row :> JsonNode |])
            AtomicFile.WriteText(RunFolder.tableJsonPath plan.Folder, json.ToJsonString() + "\n")

            AtomicFile.WriteText(RunFolder.tablePath plan.Folder, $"# {plan.Experiment.Name}\n\n{report}\n")

            plan.Options.Page |> Option.iter (writePage report)
            return rows, tables |> List.exists (fun (_, compared, _) -> compared > 0)
        }
