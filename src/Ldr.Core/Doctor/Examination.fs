namespace Ldr

open System
open System.Threading
open Ldr.Runtime.Geometry

/// One subject, and what was found in its files.
[<NoEquality; NoComparison>]
type Examined =
    {
        Case: Case
        Image: Result<ScanFacts, Unreadable>
        Labels: Result<ScanFacts, Unreadable> option
    }

/// What the doctor has to say.
[<NoEquality; NoComparison>]
type Diagnosis =
    {
        Inventory: Inventory
        Examined: Examined list
        Findings: Finding list
    }

/// Looks at every scan of a data set, one at a time, and tells what would spoil a training.
module Examination =
    /// Voxel sizes (mm) beyond which the unit of a header is probably wrong.
    let private spacingLimits = 0.02, 25.0

    /// Extents (mm) beyond which it is.
    let private extentLimits = 2.0, 3000.0

    /// How often the median something must be, or how small a part of it, to stand out.
    let private outlier = 4.0

    /// With fewer subjects nothing stands out.
    let private crowd = 5

    let private finding severity kind where what action =
        {
            Severity = severity
            Kind = kind
            Where = where
            What = what
            Action = action
        }

    let private number (value: float) =
        value.ToString("0.####", Globalization.CultureInfo.InvariantCulture)

    /// Millimetres that a scan covers along x, y, z.
    let private extents (facts: ScanFacts) =
        let x, y, z = ScanFacts.spacing facts
        float facts.Grid.Nx * x, float facts.Grid.Ny * y, float facts.Grid.Nz * z

    let private least (a, b, c) : float = min a (min b c)
    let private most (a, b, c) : float = max a (max b c)

    /// The name under which a scan or a label map is spoken of.
    let private placeOf (inventory: Inventory) (case: Case) (role: string) (source: ScanSource) =
        match source with
        | ScanFile path when inventory.Plain -> Inventory.shown inventory.Path path
        | ScanFile path -> $"{case.Name} ({Inventory.shown inventory.Path path})"
        | ScanMade _ -> $"{case.Name} ({role})"

    let private unreadable (place: string) (wrong: Unreadable) =
        finding Spoils wrong.Kind place wrong.Problem wrong.Remedy

    /// What one readable file tells, whatever it is.
    let private ofGeometry (place: string) (facts: ScanFacts) =
        let sizes, extent = ScanFacts.spacing facts, extents facts
        let x, y, z = sizes

        let shown = $"{number x} × {number y} × {number z} mm"

        [
            if facts.FormsDisagree then
                finding
                    Doubtful
                    "sform-qform"
                    place
                    "sform and qform place it differently"
                    "sform is used; programs that prefer qform will place it elsewhere"

            if
                least sizes < fst spacingLimits
                || most sizes > snd spacingLimits
                || most extent < fst extentLimits
                || most extent > snd extentLimits
            then
                finding
                    Spoils
                    "spacing"
                    place
                    $"its voxels are {shown}: the unit is probably wrong"
                    "mend the header: it would be resampled to millimetres that are none"
            elif most sizes / least sizes > 8.0 then
                finding
                    Doubtful
                    "thick-slices"
                    place
                    $"its voxels are {shown}"
                    "resampled; along the longest side little can be seen"
        ]

    let private ofImage (options: DataOptions option) (place: string) (facts: ScanFacts) =
        let count = float facts.Grid.Count
        let share = 100.0 * float facts.NotFinite / count

        [
            if facts.NotFinite > 0L then
                finding
                    (if share > 50.0 then Spoils else Doubtful)
                    "not-finite"
                    place
                    $"{facts.NotFinite} voxels ({number share} %%) are NaN or infinite"
                    "they count as the darkest"

            if facts.NotFinite < facts.Grid.Count && facts.Low = facts.High then
                finding
                    Spoils
                    "constant"
                    place
                    $"every voxel is {number facts.Low}"
                    "a constant scan correlates with nothing: take it out or get it again"

            match options |> Option.map _.Intensity with
            | Some(:? IntensityRule.Window as window) when
                facts.High <= window.Low || facts.Low >= window.High
                ->
                finding
                    Spoils
                    "window"
                    place
                    $"its values, {number facts.Low} to {number facts.High}, lie outside the window {number window.Low} to {number window.High}"
                    "it would be all black or all white: choose another data.intensity"
            | _ -> ()
        ]

    /// What a scan and its label map tell together.
    let private ofLabels (inventory: Inventory) place (image: ScanFacts option) (labels: ScanFacts) =
        let census = labels.Census

        [
            match LabelMap.problem census with
            | Some problem -> finding Spoils "no-label-map" place problem LabelMap.remedy
            | None ->
                if census.Counts.IsEmpty then
                    finding
                        Spoils
                        "empty-labels"
                        place
                        "its label map is empty"
                        "it would be learnt and scored as nothing: mend it, or take the subject out"

                if not inventory.LabelNames.IsEmpty then
                    for label, voxels in census.Counts do
                        if not (inventory.LabelNames.ContainsKey label) then
                            finding
                                Doubtful
                                "unnamed-label"
                                place
                                $"label {label} ({voxels} voxels) is not among the labels of the data set"
                                "learnt and scored like the others: name it, or add it to data.ignored_labels"

                if census.Counts |> List.exists (fun (label, _) -> label < 0) then
                    finding
                        Doubtful
                        "negative-label"
                        place
                        "it has labels below 0"
                        "learnt and scored like the others: add them to data.ignored_labels"

            match image with
            | Some image when not (labels.Grid.SameAs image.Grid) ->
                finding
                    Spoils
                    "other-grid"
                    place
                    $"its label map ({labels.Grid}) lies on another grid than its scan ({image.Grid})"
                    "refused in scores: resample the label map onto the scan's grid (ldr-fs apply)"
            | _ -> ()
        ]

    /// Whether a file's numbers lie in it as those of a label map do.
    let looksLikeLabels (facts: ScanFacts) =
        facts.Low < facts.High && LabelMap.isLikely facts.Census

    let private ofSubject (inventory: Inventory) (subject: Examined) : Finding list =
        let case = subject.Case
        let place role source = placeOf inventory case role source
        let imagePlace = place "scan" case.Image
        let image = Result.toOption subject.Image

        [
            match subject.Image with
            | Error wrong -> unreadable imagePlace wrong
            | Ok facts ->
                yield! ofGeometry imagePlace facts

                if inventory.Plain && facts.Census.Counts.IsEmpty && facts.Census.NotWhole = 0L then
                    finding
                        Doubtful
                        "empty"
                        imagePlace
                        "every voxel is 0"
                        "of no use, as a scan or as a label map"
                else
                    yield! ofImage inventory.Options imagePlace facts

                if not inventory.Plain && looksLikeLabels facts then
                    finding
                        Doubtful
                        "label-map-as-scan"
                        imagePlace
                        $"its scan holds {facts.Census.Counts.Length} different whole numbers in large patches, as a label map does"
                        "used as a scan: check that image and label are not exchanged"

            match case.Labels, subject.Labels with
            | Some source, Some(Ok labels) ->
                let labelPlace = place "labels" source

                // A label map on its scan's grid has the same doubts, told once.
                if
                    not (image |> Option.exists (fun i -> labels.Grid.SameAs i.Grid))
                    || labels.FormsDisagree
                then
                    yield! ofGeometry labelPlace labels

                yield! ofLabels inventory labelPlace image labels
            | Some source, Some(Error wrong) -> unreadable (place "labels" source) wrong
            | _ when case.NeedsLabels ->
                finding
                    Spoils
                    "no-labels"
                    imagePlace
                    "has no label map"
                    "scores need one for every subject of validation and test: get it, or take the subject out"
            | _ -> ()
        ]

    let private differing (kind: string) (what: string) (action: string) (values: string list) =
        match values |> List.countBy id |> List.sortByDescending snd with
        | []
        | [ _ ] -> []
        | groups ->
            let shown =
                groups
                |> List.truncate 4
                |> List.map (fun (value, count) -> $"{value} {count} ×")
                |> String.concat ", "

            let more = if groups.Length > 4 then ", …" else ""
            [ finding Remark kind "" $"{what}: {shown}{more}" action ]

    /// The scans that can be read, each with what is said of where it is.
    let private scansOf (inventory: Inventory) (examined: Examined list) : (string * ScanFacts) list =
        [
            for e in examined do
                match e.Image with
                | Ok facts when not (inventory.Plain && looksLikeLabels facts) ->
                    placeOf inventory e.Case "scan" e.Case.Image, facts
                | _ -> ()
        ]

    /// Scans with a value that is far from the median one.
    let private standOut
        (scans: (string * ScanFacts) list)
        (kind: string)
        (pick: ScanFacts -> float)
        (say: float -> float -> string)
        (action: string)
        : Finding list =
        if scans.Length >= crowd then
            let middle = scans |> List.map (snd >> pick) |> Statistics.median

            [
                for place, facts in scans do
                    let value = pick facts

                    if value > outlier * middle || value * outlier < middle then
                        finding Doubtful kind place (say value middle) action
            ]
        else
            []

    /// What differs between the headers of scans.
    let private ofHeaders (facts: ScanFacts list) : Finding list =
        let spacing (f: ScanFacts) =
            let x, y, z = ScanFacts.spacing f
            $"{number (Math.Round(x, 2))} × {number (Math.Round(y, 2))} × {number (Math.Round(z, 2))} mm"

        [
            yield!
                facts
                |> List.map _.Grid.Orientation
                |> differing
                    "orientations"
                    "orientations differ"
                    "resampled: the moving scan is brought onto the fixed scan's grid by their world positions"

            yield!
                facts
                |> List.map spacing
                |> differing "spacings" "voxel sizes differ" "resampled to the training grid's"

            yield!
                facts
                |> List.map _.StoredAs
                |> differing "types" "number types differ" "all become float32"

            match facts |> List.filter _.NoPosition |> List.length with
            | 0 -> ()
            | n ->
                finding
                    Remark
                    "no-position"
                    ""
                    $"{n} of {facts.Length} scans have neither sform nor qform: their position is unknown"
                    "laid over each other by their centres when \"alignment\" is \"centres\""
        ]

    /// Scans whose voxels or extents are far from the median ones.
    let private ofOutliers (scans: (string * ScanFacts) list) : Finding list =
        standOut
            scans
            "outlier-spacing"
            (fun f -> let x, y, z = ScanFacts.spacing f in Math.Cbrt(x * y * z))
            (fun value middle ->
                $"its voxels are about {number (Math.Round(value, 3))} mm wide, the median is {number (Math.Round(middle, 3))} mm")
            "resampled: check its header"
        @ standOut
            scans
            "outlier-size"
            (fun f -> let x, y, z = extents f in x * y * z / 1000.0)
            (fun value middle ->
                $"it covers {number (Math.Round value)} cm³, the median is {number (Math.Round middle)} cm³")
            "cropped to the training grid, or continued by its border"

    let private ofIntensities (inventory: Inventory) (facts: ScanFacts list) : Finding list =
        let ranges =
            facts |> List.map (fun f -> f.High - f.Low) |> List.filter (fun r -> r > 0.0)

        let byWindow =
            match inventory.Options |> Option.map _.Intensity with
            | Some(:? IntensityRule.Window) -> true
            | _ -> false

        [
            if not ranges.IsEmpty && List.max ranges > 10.0 * List.min ranges then
                finding
                    (if byWindow then Doubtful else Remark)
                    "intensity-scales"
                    ""
                    $"intensity ranges differ: {number (List.min ranges)} to {number (List.max ranges)} wide"
                    (if byWindow then
                         "one window is used for all: a rule by percentiles would suit them better"
                     else
                         "every scan is windowed by its own percentiles; a fixed window would not suit them")
        ]

    /// Scans that the training grid does not hold whole.
    let private ofCropping (data: DataOptions) (facts: ScanFacts list) : Finding list =
        let x, y, z = data.Size
        let sx, sy, sz = data.Spacing

        let sorted (a: float, b: float, c: float) = List.sort [ a; b; c ]
        let room = sorted (float x * sx, float y * sy, float z * sz)

        let larger =
            facts
            |> List.filter (fun f ->
                List.exists2 (fun have limit -> have > limit + 1e-3) (sorted (extents f)) room)

        [
            if not larger.IsEmpty then
                finding
                    Remark
                    "cropped"
                    ""
                    $"{larger.Length} of {facts.Length} scans are larger than the training grid of {x} × {y} × {z} voxels of {number sx} × {number sy} × {number sz} mm"
                    "cropped for training: what is outside is not learnt"
        ]

    /// What stands out among all scans.
    let private ofAll (inventory: Inventory) (examined: Examined list) : Finding list =
        let scans = scansOf inventory examined
        let facts = List.map snd scans

        [
            yield! ofHeaders facts

            if not inventory.Plain then
                yield! ofOutliers scans
                yield! ofIntensities inventory facts

            match inventory.Options with
            | Some data -> yield! ofCropping data facts
            | None -> ()
        ]

    /// The subjects of which something has the same digest.
    let private sameDigest (digest: Examined -> string option) (examined: Examined list) : Case list list =
        examined
        |> List.choose (fun e -> digest e |> Option.map (fun digest -> digest, e.Case))
        |> List.groupBy fst
        |> List.map (fun (_, group) -> List.map snd group)
        |> List.filter (fun group -> group.Length > 1)

    let private sameScans: Examined list -> Case list list =
        sameDigest (fun e ->
            match e.Image with
            | Ok facts when facts.Low < facts.High -> Some facts.Digest
            | _ -> None)

    let private sameLabels: Examined list -> Case list list =
        sameDigest (fun e ->
            match e.Labels with
            | Some(Ok facts) when not facts.Census.Counts.IsEmpty -> Some facts.Digest
            | _ -> None)

    let private ofSameScan (inventory: Inventory) (group: Case list) : Finding =
        let names = group |> List.map _.Name |> String.concat ", "
        let parts = group |> List.map _.Part |> List.distinct

        if parts.Length > 1 then
            let where = String.concat " and " parts

            finding
                Spoils
                "duplicate"
                names
                $"the same scan is in {where}"
                "scores on it would flatter: take it out of one of them"
        else
            finding
                Doubtful
                "duplicate"
                names
                "are the same scan"
                (if inventory.Plain then
                     "nothing is done about it"
                 else
                     "a random split may put one into training and one into test: keep one")

    /// Label maps that are the same where the scans are not.
    let private ofSameLabels (scans: Case list list) (labels: Case list list) : Finding list =
        let known = scans |> List.map (List.map _.Name >> Set.ofList)

        [
            for group in labels do
                let names = group |> List.map _.Name

                if not (known |> List.exists (fun set -> names |> List.forall set.Contains)) then
                    finding
                        Doubtful
                        "same-labels"
                        (String.concat ", " names)
                        "have the same label map and different scans"
                        "used as it is: one of them probably has another's"
        ]

    /// People with scans in several parts.
    let private ofPeople (examined: Examined list) : Finding list =
        [
            for person, cases in examined |> List.map _.Case |> List.groupBy _.Person do
                let parts = cases |> List.map _.Part |> List.filter ((<>) "") |> List.distinct

                if
                    person <> ""
                    && parts.Length > 1
                    && (cases |> List.map _.Name |> List.distinct).Length > 1
                then
                    finding
                        Spoils
                        "person"
                        (cases |> List.map _.Name |> String.concat ", ")
                        ("scans of one person are in " + String.concat " and " parts)
                        "scores would flatter: keep a person's scans in one part"
        ]

    /// Scans, and label maps, that are the same in two subjects.
    let private ofDuplicates (inventory: Inventory) (examined: Examined list) : Finding list =
        let scans = sameScans examined

        List.map (ofSameScan inventory) scans
        @ ofSameLabels scans (sameLabels examined)
        @ ofPeople examined

    /// Scans of one quantum, of up to so many scans, are taken for those of one person.
    let private mostOfQuantum = 4

    /// Thumbnails whose product is above this are of nearly equal scans.
    let private nearlyEqual = 0.9999f

    /// Scans whose values are multiples of the same odd number.
    let private byQuantum (scans: (Case * ScanFacts) list) : Case list list =
        scans
        |> List.choose (fun (case, facts) -> facts.Quantum |> Option.map (fun q -> q.ToString "G7", case))
        |> List.groupBy fst
        |> List.map (fun (_, group) -> group |> List.map snd |> List.distinctBy _.Name)
        |> List.filter (fun group -> group.Length > 1 && group.Length <= mostOfQuantum)

    /// Pairs of scans that are nearly equal.
    let private byLook (scans: (Case * ScanFacts) list) : Case list list =
        let all = Array.ofList scans

        let product (a: float32[]) (b: float32[]) =
            if a.Length = b.Length && a.Length > 0 then
                Array.fold2 (fun sum x y -> sum + x * y) 0.0f a b
            else
                0.0f

        [
            for i in 0 .. all.Length - 1 do
                for j in i + 1 .. all.Length - 1 do
                    let (a, ofA), (b, ofB) = all[i], all[j]

                    if
                        ofA.Digest <> ofB.Digest
                        && a.Name <> b.Name
                        && product ofA.Thumbnail ofB.Thumbnail > nearlyEqual
                    then
                        [ a; b ]
        ]

    let private twins (kind: string) (what: string) (groups: Case list list) : Finding list =
        let apart =
            groups
            |> List.filter (fun group -> (group |> List.map _.Person |> List.distinct).Length > 1)

        let torn =
            apart
            |> List.filter (fun group ->
                (group |> List.map _.Part |> List.filter ((<>) "") |> List.distinct).Length > 1)

        let example (group: Case list) =
            group |> List.map _.Name |> String.concat " and "

        [
            if not torn.IsEmpty then
                finding
                    Spoils
                    kind
                    ""
                    $"{torn.Length} groups of scans {what}, and are in different parts, such as {example torn.Head}"
                    "scores would flatter: say by data.people who belongs together"
            elif not apart.IsEmpty then
                finding
                    Doubtful
                    kind
                    ""
                    $"{apart.Length} groups of scans {what}, such as {example apart.Head}"
                    "a random split may put them into different parts: say by data.people who belongs together"
        ]

    /// Scans that are probably of one person, though the data set takes them for two people's: their values are multiples of the same odd
    /// number, or they are nearly equal.
    let private ofTwins (examined: Examined list) : Finding list =
        let scans =
            [
                for e in examined do
                    match e.Image with
                    | Ok facts when facts.Low < facts.High -> e.Case, facts
                    | _ -> ()
            ]

        twins
            "twins"
            "have the same odd step between their intensities, as two cut from one scan have"
            (byQuantum scans)
        @ twins "nearly-equal" "are nearly equal" (byLook scans)

    /// The volume of each label, mm³, in every label map.
    let private labelVolumes
        (inventory: Inventory)
        (examined: Examined list)
        : (string * Map<int, float>) list =
        [
            for e in examined do
                match e.Case.Labels, e.Labels with
                | Some source, Some(Ok facts) when (LabelMap.problem facts.Census).IsNone ->
                    let x, y, z = ScanFacts.spacing facts

                    placeOf inventory e.Case "labels" source,
                    facts.Census.Counts
                    |> List.map (fun (label, n) -> label, float n * x * y * z)
                    |> Map.ofList
                | _ -> ()
        ]

    /// Maps without a label that most have, and those in which it is unusually large or small.
    let private ofLabel (maps: (string * Map<int, float>) list) (label: int) : Finding list =
        let having = maps |> List.filter (fun (_, m) -> m.ContainsKey label)

        [
            if maps.Length >= crowd && 5 * having.Length >= 4 * maps.Length then
                let middle = having |> List.map (fun (_, m) -> m[label]) |> Statistics.median

                for place, map in maps do
                    match map.TryFind label with
                    | None when not map.IsEmpty ->
                        finding
                            Doubtful
                            "missing-label"
                            place
                            $"label {label} is missing, which {having.Length} of {maps.Length} subjects have"
                            "a pair with it scores 0 for that label"
                    | Some volume when volume > 5.0 * middle || 5.0 * volume < middle ->
                        finding
                            Doubtful
                            "label-volume"
                            place
                            $"label {label} has {number (Math.Round(volume / 1000.0, 3))} cm³, the median is {number (Math.Round(middle / 1000.0, 3))} cm³"
                            "used as it is: look at it"
                    | _ -> ()
        ]

    /// Labels that stand out among the subjects.
    let private ofLabelSets (inventory: Inventory) (examined: Examined list) : Finding list =
        let maps = labelVolumes inventory examined

        let all =
            maps
            |> List.collect (snd >> Map.keys >> List.ofSeq)
            |> List.distinct
            |> List.sort

        let never =
            inventory.LabelNames
            |> Map.toList
            |> List.filter (fun (label, _) -> label <> 0 && not (List.contains label all))

        [
            yield! all |> List.collect (ofLabel maps)

            if not (maps.IsEmpty || never.IsEmpty) then
                let names =
                    never
                    |> List.truncate 5
                    |> List.map (fun (l, n) -> $"{l} ({n})")
                    |> String.concat ", "

                finding
                    Remark
                    "unused-label"
                    ""
                    $"labels of the data set that no subject has: {names}"
                    "ignored"
        ]

    let private ofCount (inventory: Inventory) (examined: Examined list) =
        let usable =
            examined
            |> List.filter (fun e -> e.Case.Part <> "test" || inventory.Options.IsSome)
            |> List.length

        [
            if not inventory.Plain && usable < 6 then
                finding
                    (if usable < 2 then Spoils else Doubtful)
                    "few-subjects"
                    ""
                    $"there are {usable} subjects"
                    "an experiment needs two or more each for training, validation and test"

            if
                not inventory.Plain
                && not (examined |> List.exists (fun e -> e.Case.Labels.IsSome))
            then
                finding
                    Doubtful
                    "unlabelled"
                    ""
                    "no subject has a label map"
                    "it can be registered, but train and evaluate score by labels"
        ]

    let private severityOrder severity =
        match severity with
        | Spoils -> 0
        | Doubtful -> 1
        | Remark -> 2

    /// Reads every file of an inventory, one at a time. `progress` hears how many of how many subjects were read.
    let run (stop: CancellationToken) (progress: int -> int -> unit) (inventory: Inventory) : Diagnosis =
        let count = inventory.Cases.Length

        let examined =
            [
                for index, case in List.indexed inventory.Cases do
                    stop.ThrowIfCancellationRequested()
                    let image = ScanFacts.read case.Image
                    let labels = case.Labels |> Option.map ScanFacts.read
                    progress (index + 1) count

                    {
                        Case = case
                        Image = image
                        Labels = labels
                    }
            ]

        {
            Inventory = inventory
            Examined = examined
            Findings =
                [
                    yield! inventory.Found
                    yield! examined |> List.collect (ofSubject inventory)
                    yield! ofAll inventory examined
                    yield! ofDuplicates inventory examined
                    yield! ofTwins examined
                    yield! ofLabelSets inventory examined
                    yield! ofCount inventory examined
                ]
                |> List.sortBy (fun f -> severityOrder f.Severity)
        }

    /// Whether something was found that would spoil a training.
    let spoils (diagnosis: Diagnosis) =
        diagnosis.Findings |> List.exists (fun f -> f.Severity = Spoils)
