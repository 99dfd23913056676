namespace Ldr

open System
open System.Globalization
open System.Text.Json.Nodes
open Ldr.Runtime.Geometry

/// What the doctor has to say: a text for people, an object for programs.
module DoctorReport =
    /// Findings of one kind that the text lists one by one.
    let private shownOfKind = 5

    /// Labels that the text lists one by one.
    let private shownLabels = 20

    /// Files of a folder that the text lists one by one.
    let private shownFiles = 20

    let private severityWord severity =
        match severity with
        | Spoils -> "spoils training"
        | Doubtful -> "doubtful"
        | Remark -> "remark"

    let private number (value: float) =
        if abs value >= 1e5 then
            value.ToString("#,0", CultureInfo.InvariantCulture)
        else
            value.ToString("0.###", CultureInfo.InvariantCulture)

    let private span (values: float list) =
        let low, high = List.min values, List.max values

        if low = high then
            number low
        else
            $"{number low}–{number high}"

    let private across (triples: (float * float * float) list) =
        let pick f = triples |> List.map f |> span

        pick (fun (a, _, _) -> a)
        + " × "
        + pick (fun (_, b, _) -> b)
        + " × "
        + pick (fun (_, _, c) -> c)

    let private counted (values: string list) =
        values
        |> List.countBy id
        |> List.sortByDescending snd
        |> List.map (fun (value, count) -> $"{value} ({count})")
        |> String.concat ", "

    let private sizeOf (facts: ScanFacts) =
        float facts.Grid.Nx, float facts.Grid.Ny, float facts.Grid.Nz

    let private images (diagnosis: Diagnosis) =
        diagnosis.Examined |> List.choose (fun e -> Result.toOption e.Image)

    /// Every label: how many subjects have it, and its volumes in cm³.
    let private labels (diagnosis: Diagnosis) : (int * float list) list =
        [
            for e in diagnosis.Examined do
                match e.Labels with
                | Some(Ok facts) when (LabelMap.problem facts.Census).IsNone ->
                    let x, y, z = ScanFacts.spacing facts

                    for label, voxels in facts.Census.Counts do
                        label, float voxels * x * y * z / 1000.0
                | _ -> ()
        ]
        |> List.groupBy fst
        |> List.map (fun (label, group) -> label, List.map snd group)
        |> List.sortBy fst

    let private verdict (diagnosis: Diagnosis) =
        let count severity =
            diagnosis.Findings
            |> List.filter (fun f -> f.Severity = severity)
            |> List.length

        count Spoils, count Doubtful, count Remark

    /// How many files or subjects there are.
    let private countLines
        (diagnosis: Diagnosis)
        (files: ScanFacts list)
        (scans: ScanFacts list)
        : string list =
        let inventory = diagnosis.Inventory
        let all = diagnosis.Examined.Length

        if inventory.Plain then
            let unread = all - files.Length
            let unreadable = if unread > 0 then $", {unread} that cannot be used" else ""

            [
                $"files        {all}: {scans.Length} scans, {files.Length - scans.Length} label maps{unreadable}"
            ]
        else
            let labelled = diagnosis.Examined |> List.filter (fun e -> e.Case.Labels.IsSome)

            let parts =
                match inventory.Cases |> List.map _.Part |> List.filter ((<>) "") with
                | [] -> ""
                | parts -> ": " + counted parts

            [
                $"subjects     {all}{parts}; {labelled.Length} with label maps"
                $"licence      {inventory.Licence}"
            ]

    let private scanLines (scans: ScanFacts list) : string list =
        [
            if not scans.IsEmpty then
                $"size         {across (List.map sizeOf scans)} voxels"
                $"spacing      {across (List.map ScanFacts.spacing scans)} mm"
                $"orientation  {scans |> List.map _.Grid.Orientation |> counted}"
                $"stored as    {scans |> List.map _.StoredAs |> counted}"

                match scans |> List.filter (fun f -> Double.IsFinite f.Low) with
                | [] -> ()
                | finite ->
                    $"intensity    from {span (List.map _.Low finite)} to {span (List.map _.High finite)}"
        ]

    /// What an image of a folder without a description is taken for.
    let private kindOf (diagnosis: Diagnosis) (facts: ScanFacts) : string =
        if Examination.looksLikeLabels facts then
            let scan =
                diagnosis.Examined
                |> List.tryPick (fun other ->
                    match other.Image with
                    | Ok o when not (Examination.looksLikeLabels o) && o.Grid.SameAs facts.Grid ->
                        Some other.Case.Name
                    | _ -> None)

            let place =
                match scan with
                | Some scan -> $"on the grid of {scan}"
                | None -> "on the grid of no scan here"

            let count = facts.Census.Counts.Length
            let labels = if count = 1 then "1 label" else $"{count} labels"
            $"label map, {labels}, {place}"
        else
            $"scan, {number facts.Low} to {number facts.High}"

    let private fileLines (diagnosis: Diagnosis) : string list =
        [
            for e in List.truncate shownFiles diagnosis.Examined do
                match e.Image with
                | Ok facts -> $"  {e.Case.Name}: {facts.Grid}, {facts.StoredAs}; {kindOf diagnosis facts}"
                | Error wrong -> $"  {e.Case.Name}: {wrong.Problem}"

            if diagnosis.Examined.Length > shownFiles then
                $"  … and {diagnosis.Examined.Length - shownFiles} more (--json lists all)"
        ]

    let private labelLines (names: Map<int, string>) (labels: (int * float list) list) : string list =
        let name label =
            names |> Map.tryFind label |> Option.defaultValue ""

        [
            if not labels.IsEmpty then
                $"labels       {labels.Length}"
                ""
                "  label  name              subjects  median cm³  (least–most)"

                for label, volumes in List.truncate shownLabels labels do
                    let name = (name label).PadRight 16
                    let median = (number (Statistics.median volumes)).PadLeft 10
                    $"  %5d{label}  {name}  %8d{volumes.Length}  {median}  ({span volumes})"

                if labels.Length > shownLabels then
                    $"  … and {labels.Length - shownLabels} more (--json lists all)"
        ]

    let private table (diagnosis: Diagnosis) : string list =
        let inventory = diagnosis.Inventory
        let files = images diagnosis

        let scans =
            if inventory.Plain then
                files |> List.filter (Examination.looksLikeLabels >> not)
            else
                files

        [
            $"{inventory.Name}: {inventory.Kind} ({inventory.Path})"
            ""
            yield! countLines diagnosis files scans
            yield! scanLines scans

            if inventory.Plain then
                ""
                yield! fileLines diagnosis

            yield! labelLines inventory.LabelNames (labels diagnosis)
        ]

    let private findings (diagnosis: Diagnosis) : string list =
        [
            for severity in [ Spoils; Doubtful; Remark ] do
                let own = diagnosis.Findings |> List.filter (fun f -> f.Severity = severity)

                if not own.IsEmpty then
                    ""
                    (severityWord severity).ToUpperInvariant()

                    for (kind, action), group in own |> List.groupBy (fun f -> f.Kind, f.Action) do
                        match group with
                        | [ only ] ->
                            let where = if only.Where = "" then "" else only.Where + ": "
                            $"  {kind}: {where}{only.What}; {action}"
                        | several ->
                            $"  {kind}: {several.Length} times; {action}"

                            for f in List.truncate shownOfKind several do
                                $"    {f.Where}: {f.What}"

                            if several.Length > shownOfKind then
                                $"    … and {several.Length - shownOfKind} more (--json lists all)"
        ]

    /// The report as text, without a line break at its end.
    let toText (diagnosis: Diagnosis) : string =
        let spoiling, doubtful, remarks = verdict diagnosis

        let last =
            let others = $"doubtful: {doubtful}; remarks: {remarks}."

            if spoiling > 0 then
                $"What would spoil a training: {spoiling}; {others}"
            else
                $"Nothing would spoil a training; {others}"

        table diagnosis @ findings diagnosis @ [ ""; last ] |> String.concat "\n"

    let private text (value: string) : JsonNode = nonNull (JsonValue.Create value)
    let private list (items: (JsonNode | null) list) : JsonNode = JsonArray(Array.ofList items)

    let private object (pairs: (string * (JsonNode | null)) list) : JsonObject =
        let node = JsonObject()

        for key, value in pairs do
            node.Add(key, value)

        node

    let private scanNode (result: Result<ScanFacts, Unreadable>) : JsonNode =
        match result with
        | Error wrong -> object [ "problem", text wrong.Problem ]
        | Ok facts ->
            let x, y, z = ScanFacts.spacing facts

            object
                [
                    "size",
                    list
                        [
                            JsonValue.Create facts.Grid.Nx
                            JsonValue.Create facts.Grid.Ny
                            JsonValue.Create facts.Grid.Nz
                        ]
                    "spacing_mm", list [ JsonNumber.rounded x; JsonNumber.rounded y; JsonNumber.rounded z ]
                    "orientation", text facts.Grid.Orientation
                    "type", text facts.StoredAs
                    "min", JsonNumber.finiteOrNull facts.Low
                    "max", JsonNumber.finiteOrNull facts.High
                    "not_finite", JsonValue.Create facts.NotFinite
                    "digest", text facts.Digest
                ]

    let private findingNode (finding: Finding) : JsonNode =
        object
            [
                "severity", text (severityWord finding.Severity)
                "kind", text finding.Kind
                "where", text finding.Where
                "what", text finding.What
                "action", text finding.Action
            ]

    let private labelNode (names: Map<int, string>) (label: int, volumes: float list) : JsonNode =
        object
            [
                "label", JsonValue.Create label
                "name", (names |> Map.tryFind label |> Option.map text |> Option.toObj)
                "subjects", JsonValue.Create volumes.Length
                "median_cm3", JsonNumber.rounded (Statistics.median volumes)
                "min_cm3", JsonNumber.rounded (List.min volumes)
                "max_cm3", JsonNumber.rounded (List.max volumes)
            ]

    let private subjectNode (examined: Examined) : JsonNode =
        object
            [
                "name", text examined.Case.Name
                "part", text examined.Case.Part
                "image", scanNode examined.Image
                match examined.Labels with
                | Some labels -> "labels", scanNode labels
                | None -> ()
            ]


    /// The report as JSON.
    let toJson (diagnosis: Diagnosis) : JsonObject =
        let spoiling, doubtful, remarks = verdict diagnosis
        let inventory = diagnosis.Inventory

        object
            [
                "name", text inventory.Name
                "kind", text inventory.Kind
                "path", text inventory.Path
                "licence", text inventory.Licence
                "subjects", JsonValue.Create diagnosis.Examined.Length
                "spoils", JsonValue.Create spoiling
                "doubtful", JsonValue.Create doubtful
                "remarks", JsonValue.Create remarks
                "findings", list [ for finding in diagnosis.Findings -> findingNode finding ]
                "labels", list [ for label in labels diagnosis -> labelNode inventory.LabelNames label ]
                "scans", list [ for examined in diagnosis.Examined -> subjectNode examined ]
            ]
