namespace Ldr

open System
open System.Collections.Concurrent
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration

/// The subjects of a training as the network sees them.
[<NoEquality; NoComparison>]
type TrainingSet =
    {
        Names: string[]
        /// Which pairs are made of them.
        Group: SubjectGroup
        /// The scans, by the intensity rule; from a cache on disk where all of them would not fit into memory.
        Scans: (unit -> Volume)[]
        /// 1 where a scan counts, for those that have a mask.
        Masks: (unit -> Volume) option[]
        /// The label map of every scan, and the labels that count; read when a loss asks for them.
        Labels: Lazy<Volume[] * int[]>
        /// For every scan a volume for each label: how deep every voxel lies in it, mm (`SignedDistance`), cut at
        /// ± `mostDepth`; worked out once.
        Depths: Lazy<Lazy<Volume>[][]>
        /// Voxels of a training grid, x, y, z.
        Size: int * int * int
        /// The training grid around a scan.
        GridOf: Volume -> Grid
        Alignment: Alignment
        /// The affine alignments of the pairs that were seen, which take longer to find than a step.
        Affine: ConcurrentDictionary<int * int, Affine>
    }

module TrainingSet =
    /// Labels that a step's loss takes: each is a channel of its own. Of more, so many are drawn for every batch.
    let private mostLabels = 32

    /// Depths in a label are cut here, mm: what lies deeper says little of its surface.
    let mostDepth = 4.0

    /// The label maps of all subjects, and the labels that they have together.
    let private labelMaps (ignored: int list) (subjects: Subject list) : Result<Volume[] * int[], Error> =
        let mapOf (subject: Subject) =
            match subject.Labels with
            | Some labels -> Ok(labels.Read())
            | None ->
                Error(
                    BadInput
                        $"subject {subject.Name} has no label map; a loss with \"dice\" or \"label_distance\" needs one for every training subject"
                )

        result {
            let! maps = subjects |> List.traverseResultM mapOf

            let all =
                maps
                |> Seq.collect Overlap.Labels
                |> Seq.distinct
                |> Seq.filter (fun label -> not (List.contains label ignored))
                |> Seq.sort
                |> Array.ofSeq

            if all.Length = 0 then
                return!
                    Error(
                        BadInput
                            "a loss with \"dice\" or \"label_distance\" needs labels, and the training subjects have none that count; see data.ignored_labels"
                    )
            else
                return Array.ofList maps, all
        }

    /// Scans are kept in memory up to so many bytes together: a quarter of the machine's, and never more than 4 GB.
    let private mostBytes () =
        min (4L <<< 30) (GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4L)

    let private scans most cache (data: DataOptions) (subjects: Subject list) : (unit -> Volume)[] =
        let decode (subject: Subject) =
            let scan = subject.Image.Read()
            Budget.CheckVoxels(subject.Image.Where |> Option.defaultValue subject.Name, scan.Grid)
            data.Intensity.Apply scan

        let rule = Codec.toLine RuntimeCodecs.intensity data.Intensity
        // The first scan stands for all in what it takes.
        let first = decode subjects.Head

        if first.Grid.Count * int64 subjects.Length * 4L > most then
            [|
                for subject in subjects ->
                    match subject.Image.File with
                    | Some file ->
                        let what = $"{subject.Image.Where}\n{rule}"
                        fun () -> VolumeCache.read cache file what (fun () -> decode subject)
                    | None -> fun () -> decode subject
            |]
        else
            [|
                fun () -> first
                for subject in subjects.Tail do
                    let scan = decode subject
                    fun () -> scan
            |]

    /// Reads the scans of a group; those that take more than `most` bytes together come from a cache on disk.
    let loadWithin
        (most: int64)
        (cache: VolumeCache)
        (data: DataOptions)
        (group: SubjectGroup)
        : TrainingSet =
        let x, y, z = data.Size
        let sx, sy, sz = data.Spacing
        let subjects = group.Members
        let labels = lazy (labelMaps data.IgnoredLabels subjects |> Error.orRaise)

        let depths (maps: Volume[], all: int[]) =
            if all.Length > mostLabels then
                Error.raiseInput
                    $"a loss with \"label_distance\" takes at most {mostLabels} labels, since it keeps the depths of all; the training subjects have {all.Length}; see data.ignored_labels, or take \"dice\""

            [|
                for map in maps ->
                    all |> Array.map (fun label -> lazy SignedDistance.Of(map, label, mostDepth))
            |]

        {
            Names = [| for subject in subjects -> subject.Name |]
            Group = group
            Scans = scans most cache data subjects
            Masks = [| for subject in subjects -> subject.Mask |> Option.map _.Read |]
            Labels = labels
            Depths = lazy (depths labels.Value)
            Size = data.Size
            GridOf = fun scan -> ModelGrid.Canvas(scan.Grid, struct (sx, sy, sz), struct (x, y, z))
            Alignment = data.Alignment
            Affine = ConcurrentDictionary()
        }

    /// Reads the scans of a group.
    let load (data: DataOptions) (group: SubjectGroup) : Result<TrainingSet, Error> =
        VolumeCache.standard ()
        |> Result.map (fun cache -> loadWithin (mostBytes ()) cache data group)

    /// The pair with what is inside the mask only. An empty one is bad input, found in the middle of a step.
    let private within (name: string) (mask: Volume) (pair: PreparedPair) : PreparedPair =
        let counts = Warp.Resample(mask, pair.Grid, Affine.Identity).Values

        let inside =
            Array.map2 (fun inside c -> if c >= 0.5f then inside else 0.0f) pair.Inside counts

        if Array.forall ((=) 0.0f) inside then
            Error.raiseInput
                $"the mask of subject {name} is empty on the training grid; give another one, or none"

        { pair with Inside = inside }

    /// Two scans, by their indices, on one grid; what is inside is inside the fixed scan's mask too, where it has one.
    let pair (set: TrainingSet) (fixedIndex: int, movingIndex: int) : PreparedPair =
        let fixedImage, movingImage = set.Scans[fixedIndex](), set.Scans[movingIndex]()

        let find _ =
            let struct (_, map) = InitialAlignment.Find(fixedImage, movingImage, set.Alignment)
            map

        let initial =
            if fixedIndex = movingIndex then
                Affine.Identity
            elif set.Alignment = Alignment.Affine then
                set.Affine.GetOrAdd((fixedIndex, movingIndex), find)
            else
                find ()

        let pair = Pairs.prepare (set.GridOf fixedImage) initial fixedImage movingImage

        match set.Masks[fixedIndex] with
        | None -> pair
        | Some mask -> within set.Names[fixedIndex] (mask ()) pair

    /// The labels that a loss looks at, as indices: all, or `mostLabels` of them, drawn.
    let drawnLabels (set: TrainingSet) (seed: Seed) : int[] =
        let count = (snd set.Labels.Value).Length

        if count <= mostLabels then
            Array.init count id
        else
            Seed.permutation count seed |> Array.take mostLabels

    /// The maps of some labels (indices) of a pair on its grid, fixed and moving, [L, Z, Y, X] each: 1 where a label is, every
    /// one interpolated by itself.
    let labelsOf (set: TrainingSet) (drawn: int[]) (fixedIndex: int, movingIndex: int) (pair: PreparedPair) =
        let maps, all = set.Labels.Value
        let labels = drawn |> Array.map (fun index -> all[index])

        LabelSampling.Linear(maps[fixedIndex], labels, pair.Grid, Affine.Identity),
        LabelSampling.Linear(maps[movingIndex], labels, pair.Grid, pair.Initial)

    /// The depths in some labels (indices) of a pair on its grid, in units of `mostDepth`, [L, Z, Y, X] each.
    let depthsOf (set: TrainingSet) (drawn: int[]) (fixedIndex: int, movingIndex: int) (pair: PreparedPair) =
        let resampled index (transform: Affine) =
            let own = set.Depths.Value[index]

            drawn
            |> Array.collect (fun label -> Warp.Resample(own[label].Value, pair.Grid, transform).Values)
            |> Array.map (fun depth -> depth / float32 mostDepth)

        resampled fixedIndex Affine.Identity, resampled movingIndex pair.Initial
