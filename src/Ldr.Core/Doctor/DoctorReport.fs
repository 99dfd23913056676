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

    let private table (diagnosis: Diagnosis) : string list =
        let files = images diagnosis

        let scans =
            if diagnosis.Inventory.Plain then
                files |> List.filter (Examination.looksLikeLabels >> not)
            else
                files

        let inventory = diagnosis.Inventory
        let labelled = diagnosis.Examined |> List.filter (fun e -> e.Case.Labels.IsSome)

        [
            $"{inventory.Name}: {inventory.Kind} ({inventory.Path})"
            ""

            if inventory.Plain then
                let unread = diagnosis.Examined.Length - files.Length
                let unreadable = if unread > 0 then $", {unread} that cannot be used" else ""

                $"files        {diagnosis.Examined.Length}: {scans.Length} scans, {files.Length - scans.Length} label maps{unreadable}"
            else
                let parts =
                    inventory.Cases
                    |> List.map _.Part
                    |> List.filter ((<>) "")
                    |> function
                        | [] -> ""
                        | parts -> ": " + counted parts

                $"subjects     {diagnosis.Examined.Length}{parts}; {labelled.Length} with label maps"
                $"licence      {inventory.Licence}"

            if not scans.IsEmpty then
                $"size         {across (List.map sizeOf scans)} voxels"
                $"spacing      {across (List.map ScanFacts.spacing scans)} mm"
                $"orientation  {scans |> List.map _.Grid.Orientation |> counted}"
                $"stored as    {scans |> List.map _.StoredAs |> counted}"

                match scans |> List.filter (fun f -> Double.IsFinite f.Low) with
                | [] -> ()
                | finite ->
                    $"intensity    from {span (List.map _.Low finite)} to {span (List.map _.High finite)}"

            if inventory.Plain then
                ""

                for e in List.truncate shownFiles diagnosis.Examined do
                    match e.Image with
                    | Ok facts ->
                        let what =
                            if Examination.looksLikeLabels facts then
                                let on =
                                    diagnosis.Examined
                                    |> List.tryPick (fun other ->
                                        match other.Image with
                                        | Ok o when
                                            not (Examination.looksLikeLabels o) && o.Grid.SameAs facts.Grid
                                            ->
                                            Some other.Case.Name
                                        | _ -> None)

                                let place =
                                    match on with
                                    | Some scan -> $"on the grid of {scan}"
                                    | None -> "on the grid of no scan here"

                                let count = facts.Census.Counts.Length
                                let labels = if count = 1 then "1 label" else $"{count} labels"
                                $"label map, {labels}, {place}"
                            else
                                $"scan, {number facts.Low} to {number facts.High}"

                        $"  {e.Case.Name}: {facts.Grid}, {facts.StoredAs}; {what}"
                    | Error wrong -> $"  {e.Case.Name}: {wrong.Problem}"

                if diagnosis.Examined.Length > shownFiles then
                    $"  … and {diagnosis.Examined.Length - shownFiles} more (--json lists all)"

            match labels diagnosis with
            | [] -> ()
            | all ->
                let name label =
                    inventory.LabelNames |> Map.tryFind label |> Option.defaultValue ""

                $"labels       {all.Length}"
                ""
                "  label  name              subjects  median cm³  (least–most)"

                for label, volumes in List.truncate shownLabels all do
                    let name = (name label).PadRight 16
                    let median = (number (Statistics.median volumes)).PadLeft 10
                    $"  %5d{label}  {name}  %8d{volumes.Length}  {median}  ({span volumes})"

                if all.Length > shownLabels then
                    $"  … and {all.Length - shownLabels} more (--json lists all)"
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

    /// The report as JSON.
    let toJson (diagnosis: Diagnosis) : JsonObject =
        let text (value: string) : JsonNode = nonNull (JsonValue.Create value)
        let list (items: (JsonNode | null) list) : JsonNode = JsonArray(Array.ofList items)

        let object (pairs: (string * (JsonNode | null)) list) =
            let node = JsonObject()

            for key, value in pairs do
                node.Add(key, value)

            node

        let triple (a: float, b: float, c: float) =
            list [ JsonNumber.rounded a; JsonNumber.rounded b; JsonNumber.rounded c ]

        let spoiling, doubtful, remarks = verdict diagnosis
        let inventory = diagnosis.Inventory

        let scan (result: Result<ScanFacts, Unreadable>) : JsonNode =
            match result with
            | Error wrong -> object [ "problem", text wrong.Problem ]
            | Ok facts ->
                object
                    [
                        "size",
                        list
                            [
                                JsonValue.Create facts.Grid.Nx
                                JsonValue.Create facts.Grid.Ny
                                JsonValue.Create facts.Grid.Nz
                            ]
                        "spacing_mm", triple (ScanFacts.spacing facts)
                        "orientation", text facts.Grid.Orientation
                        "type", text facts.StoredAs
                        "min", JsonNumber.finiteOrNull facts.Low
                        "max", JsonNumber.finiteOrNull facts.High
                        "not_finite", JsonValue.Create facts.NotFinite
                        "digest", text facts.Digest
                    ]

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
                "findings",
                list
                    [
                        for f in diagnosis.Findings ->
                            object
                                [
                                    "severity", text (severityWord f.Severity)
                                    "kind", text f.Kind
                                    "where", text f.Where
                                    "what", text f.What
                                    "action", text f.Action
                                ]
                    ]
                "labels",
                list
                    [
                        for label, volumes in labels diagnosis ->
                            object
                                [
                                    "label", JsonValue.Create label
                                    "name",
                                    (inventory.LabelNames
                                     |> Map.tryFind label
                                     |> Option.map text
                                     |> Option.toObj)
                                    "subjects", JsonValue.Create volumes.Length
                                    "median_cm3", JsonNumber.rounded (Statistics.median volumes)
                                    "min_cm3", JsonNumber.rounded (List.min volumes)
                                    "max_cm3", JsonNumber.rounded (List.max volumes)
                                ]
                    ]
                "scans",
                list
                    [
                        for e in diagnosis.Examined ->
                            object
                                [
                                    "name", text e.Case.Name
                                    "part", text e.Case.Part
                                    "image", scan e.Image
                                    match e.Labels with
                                    | Some labels -> "labels", scan labels
                                    | None -> ()
                                ]
                    ]
            ]
