/// Every kind of file that is read: small true files, and what reads them.
module Ldr.Core.Tests.Fuzz.Corpus

open System
open System.Collections.Generic
open System.IO
open System.Text
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.TestKit
open Ldr.TestKit.Helpers

/// How a file is changed.
type Nature =
    | Binary
    | Text
    /// A header of text before binary data.
    | Mixed

type Target =
    {
        Name: string
        Nature: Nature
        /// True files by name; the first one is what the reader is given.
        Seeds: (string * byte[]) list list
        /// Changes what is packed inside a file.
        Inside: ((byte[] -> byte[]) -> byte[] -> byte[]) option
        /// Whether a byte of the file can stand for 1032 (deflate).
        Packed: bool
        /// Changes the first file, where bytes and words are not enough.
        Change: (Random -> byte[] -> byte[]) option
        /// The lines of the error, if there is one. Whatever else is thrown is a fault.
        Read: string -> string list
    }

let private latin (text: string) = Encoding.Latin1.GetBytes text

/// What Ldr.Runtime throws of bad files is one exception.
let private runtime (read: string -> unit) path =
    try
        read path
        []
    with :? InvalidFileException as error ->
        [ error.Message ]

/// What Ldr.Core says of bad input is an `Error`.
let private core (read: string -> Result<unit, Error>) path =
    match read path with
    | Ok() -> []
    | Error error -> Error.lines error

/// The files that an action writes into an empty folder.
let private written (action: string -> unit) : (string * byte[]) list =
    let folder = Directory.CreateTempSubdirectory "ldr-fuzz-seed-"

    try
        action folder.FullName

        [
            for file in Directory.GetFiles folder.FullName |> Array.sort ->
                Path.GetFileName file, File.ReadAllBytes file
        ]
    finally
        folder.Delete true

let private random () = Random 7
let private grid = Grid(5, 4, 3, obliqueAffine (random ()) false)

let private volume =
    Volume(grid, randomFloats (random ()) (int grid.Count) -100.0 100.0, VoxelType.Int16)

let private field = randomField (random ()) grid 1.0

let private image name =
    written (fun folder -> ImageFile.Write(folder </> name, volume))

let private fieldFile voxels name =
    written (fun folder -> TransformFile.WriteField(folder </> name, field, voxels))

/// Uses what was read as `inspect` and the other verbs do.
let private look (grid: Grid) =
    grid.ToString() |> ignore
    grid.SameAs grid |> ignore

let private readImage path =
    look (ImageFile.ReadGrid path)
    let count = ImageFile.CountVolumes path
    let read = ImageFile.Read(path, (if count > 1L then Nullable 0 else Nullable()))
    read.Range |> ignore

let private readTransform path =
    match TransformFile.Read(path, grid, grid) with
    | :? Transform.Dense as dense -> look dense.Field.Grid
    | _ -> ()

let private byHand (h: NiftiBytes.Header) =
    Array.append (NiftiBytes.header h) (NiftiBytes.shorts h.Big)

let private nifti =
    [
        image "a.nii"
        [ "a.nii", byHand NiftiBytes.plain ]
        [
            "a.nii",
            byHand
                { NiftiBytes.plain with
                    Big = true
                    Qform = 1
                    Slope = 2.0
                }
        ]
        [ "a.nii", byHand NiftiBytes.second ]
        [
            "a.nii",
            byHand
                { NiftiBytes.second with
                    Big = true
                    Sform = 0
                    Qform = 1
                }
        ]
    ]

let private packed =
    List.map (List.map (fun (name, bytes) -> name + ".gz", Mutation.gzip bytes))

let private mhaHead =
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 3 4\nElementSpacing = 1 2 3\nOffset = 5 6 7\n"

let private nrrdHead =
    "NRRD0004\n# made by hand\ntype: short\ndimension: 3\nsizes: 2 3 4\nspace: right-anterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)\nendian: big\n"

let private numbers = String.concat " " (List.map string [ 0..23 ])

let private itkText =
    [
        "Transform: AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 2 3 4\nFixedParameters: 1 2 3\n"
        "Transform: Euler3DTransform_double_3_3\nParameters: 0.1 0 0.2 0 0 0\nFixedParameters: 10 0 0 0\n"
        "Transform: CompositeTransform_double_3_3\n#Transform 1\nTransform: VersorRigid3DTransform_double_3_3\nParameters: 0 0 0.5 0 0 0\nFixedParameters: 10 0 0\n#Transform 2\nTransform: TranslationTransform_double_3_3\nParameters: 1 2 3\nFixedParameters: \n"
    ]
    |> List.map (fun body -> [ "t.tfm", latin ("#Insight Transform File V1.0\n#Transform 0\n" + body) ])

let private lta kind =
    let info =
        "valid = 1  # volume info valid\nfilename = a.nii\nvolume = 5 4 3\nvoxelsize = 1.0 1.0 2.0\nxras = -1.0 0.0 0.0\nyras = 0.0 0.0 -1.0\nzras = 0.0 1.0 0.0\ncras = 1.0 2.0 3.0\n"

    $"type      = {kind}\nnxforms   = 1\nmean      = 0.0 0.0 0.0\nsigma     = 1.0\n1 4 4\n1.0 0.0 0.0 2.0\n0.0 1.0 0.1 0.0\n0.0 0.0 1.0 0.0\n0.0 0.0 0.0 1.0\nsrc volume info\n{info}dst volume info\n{info}"
    |> latin

let private fsl =
    latin "1.0 0.0 0.0 2.0\n0.0 1.0 0.1 0.0\n0.0 0.0 1.0 0.0\n0.0 0.0 0.0 1.0\n"

let private composite =
    written (fun folder ->
        TransformStore.write
            None
            false
            (folder </> "t.h5")
            (Transform.Compose(Transform.Linear(obliqueAffine (random ()) false), Transform.Dense field)))

let private markups =
    """{"@schema": "markups", "markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
{"id": "1", "label": "F-1", "position": [1.5, -2.0, 3.25], "selected": true},
{"id": "2", "label": "F-2", "position": [4, 5, 6]}], "display": {"visibility": true}}]}"""

let private fcsv =
    "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n1,1.5,-2,3,0,0,0,1,1,1,0,F-1,,\n2,4,5,6,0,0,0,1,1,1,0,F-2,,\n"

let private readPoints path =
    let file = PointFile.Read path
    let world = file.ToWorld grid
    file.Write(path + ".out", world, grid)

let private model =
    written (fun folder -> Ldr.Core.Tests.SmallModel.writeModel (folder </> "m.safetensors"))

/// Changes the text of one entry of a model's metadata, as a hostile model would have it.
let private insideModel (change: byte[] -> byte[]) (data: byte[]) =
    use stream = new MemoryStream(data)
    let file = Safetensors.Read(stream, "seed")
    let chosen = change [| 0uy .. 63uy |]
    let keys = file.Metadata.Keys |> Seq.sort |> Array.ofSeq
    let key = keys[(chosen |> Array.sumBy int) % keys.Length]
    let metadata = Dictionary file.Metadata
    metadata[key] <- Encoding.Latin1.GetString(change (latin file.Metadata[key]))

    written (fun folder -> Safetensors.Write(folder </> "m", metadata, file.Tensors))
    |> List.head
    |> snd

let private tensors =
    written (fun folder ->
        Safetensors.Write(
            folder </> "t.safetensors",
            dict [ "training", "student"; "step", "3" ] |> Dictionary,
            [|
                SafeTensor.FromFloats("a", [| 2L; 3L |], ReadOnlySpan [| 1f; 2f; 3f; 4f; 5f; 6f |])
                SafeTensor.FromFloats("b", [| 4L |], ReadOnlySpan [| 1f; 2f; 3f; 4f |], true)
            |]
        ))

let private experiments =
    let folder = Path.Combine(Repository.root, "experiments")

    [
        for file in Directory.GetFiles(folder, "*.json") |> Array.sort do
            // Others name a teacher's model that a run makes.
            if not ((File.ReadAllText file).Contains "\"runs/") then
                [ "e.json", File.ReadAllBytes file ]
    ]

let private msd =
    """{"name": "Hippocampus", "licence": "CC BY-SA 4.0", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "head"},
"numTraining": 3, "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
{"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"}, {"image": "./imagesTr/c.nii.gz"}], "test": ["./imagesTs/d.nii.gz"]}"""

let private nnUnet =
    """{"channel_names": {"0": "T1"}, "labels": {"background": 0, "liver": 1}, "numTraining": 2, "file_ending": ".nii.gz",
"dataset": {"a": {"images": ["./imagesTr/a_0000.nii.gz"], "label": "./labelsTr/a.nii.gz"},
"b": {"images": ["./imagesTr/b_0000.nii.gz"], "label": "./labelsTr/b.nii.gz"}}}"""

let private learn2Reg =
    """{"name": "NLST", "labels": {"0": "background"}, "training": [{"image": "./imagesTr/N_0001_0000.nii.gz", "mask": "./masksTr/N_0001_0000.nii.gz",
"keypoints": "./keypointsTr/N_0001_0000.nii.gz"}, {"image": "./imagesTr/N_0001_0001.nii.gz", "label": "./labelsTr/N_0001_0001.nii.gz"}], "test": ["./imagesTs/N_0002_0000.nii.gz"],
"training_paired_images": [{"fixed": "./imagesTr/N_0001_0000.nii.gz", "moving": "./imagesTr/N_0001_0001.nii.gz"}],
"registration_val": [{"fixed": "./imagesTr/N_0001_0000.nii.gz", "moving": "./imagesTr/N_0001_0001.nii.gz"}]}"""

let private pairTable =
    "fixed,moving,fixed_labels,moving_points,part\na.nii.gz,b.nii.gz,al.nii.gz,\"b,1.csv\",test\n# left out\nb.nii.gz,c.nii.gz,,,training\n"

let private rcnDescription =
    """{"files": {"/": {"type": "HDF5", "path": "r.h5"}, "v": {"path": "r.h5"}}, "image_size": [6, 5, 4], "atlas": "v/2",
"subsets": {"s": ["1", "2"], "t": {"v/1": {}, "v/2": {}}}, "schemes": {"1": {"s": 0.5, "t": 0.5}, "2": {"t": 1.0}}, "segmentation_class_value": {"liver": 255}}"""

/// HDF5 files as h5py writes them, in the library's old and its newest layout; none where there is no h5py.
let private cases: (string * byte[]) list list =
    try
        [
            for version in [ "earliest"; "latest" ] ->
                written (fun folder ->
                    python
                        """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1] + "/r.h5", "w", libver=sys.argv[2]) as f:
    for name in ["1", "2"]:
        g = f.create_group(name)
        g.create_dataset("volume", data=np.arange(120, dtype=np.uint8).reshape(4, 5, 6), compression="gzip")
        g.create_dataset("segmentation", data=np.full((4, 5, 6), 255, dtype=np.uint8), chunks=(2, 5, 6))
        g.create_dataset("point", data=np.array([[1.0, 2.0, 3.0], [-1, -1, -1]]))
        g.attrs["origin"] = "a text of some length"
"""
                        [ folder; version ]
                    |> ignore)
        ]
    with _ ->
        []

/// Reads a data set's description, and what it says of its scans.
let private readDescription (read: string -> Result<Dataset, Error>) path =
    Error.guardResult (fun () -> read path |> Result.map ignore)

/// Reads all that a description says of the cases of an HDF5 file beside it.
let private readCases (path: string) =
    Error.guard (fun () ->
        let folder =
            (Directory.CreateDirectory(string (Path.GetDirectoryName path) </> "d")).FullName

        let description = folder </> "r.json"
        File.WriteAllText(description, rcnDescription)

        for subject in (RcnForm.read description |> Error.orRaise).Subjects do
            look (subject.Image.Read().Grid)
            subject.Labels |> Option.iter (fun labels -> look (labels.Read().Grid))
            subject.Points |> Option.iter (fun points -> points.Read() |> ignore))

let private store =
    """{"teacher": "ab12", "data": "synthetic anatomy", "size": [32, 48, 32], "spacing": [1.0, 1.0, 1.5],
"intensity": {"percentiles": [0.5, 99.5]}, "alignment": "centres"}"""

let private sheet =
    """{"parameters": 1544979, "macs": 150000000.0, "pairs": [{"fixed": "a", "moving": "b", "dice": 0.5, "jaccard": 0.3, "hd95_mm": 2.5,
"folded_percent": 0.1, "sdlogj": 0.05, "milliseconds": 12.5, "labels": [{"label": 1, "dice": 0.5, "jaccard": 0.3, "hd95_mm": null}]}]}"""

let private make name nature seeds read =
    {
        Name = name
        Nature = nature
        Seeds = seeds
        Inside = None
        Packed = false
        Change = None
        Read = read
    }

let private one name (text: string) = [ [ name, latin text ] ]

/// All kinds, in a fixed order.
let targets: Target list =
    [
        make "nifti" Binary nifti (runtime readImage)
        { make "nifti-gz" Binary (packed nifti) (runtime readImage) with
            Inside = Some Mutation.insideGzip
            Packed = true
        }
        make "nifti-field" Binary [ fieldFile false "f.nii"; fieldFile true "f.nii" ] (runtime readTransform)
        { make
              "nifti-field-gz"
              Binary
              [ fieldFile false "f.nii.gz"; fieldFile true "f.nii.gz" ]
              (runtime readTransform) with
            Inside = Some Mutation.insideGzip
            Packed = true
        }
        make
            "metaimage"
            Mixed
            [
                [
                    "a.mha",
                    Array.append
                        (latin (
                            mhaHead
                            + "ElementType = MET_SHORT\nElementByteOrderMSB = True\nElementDataFile = LOCAL\n"
                        ))
                        (NiftiBytes.shorts true)
                ]
                [
                    "a.mha",
                    latin (
                        mhaHead.Replace("BinaryData = True", "BinaryData = False")
                        + "ElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
                        + numbers
                    )
                ]
                [
                    "a.mhd",
                    latin (mhaHead + "ElementType = MET_SHORT\nHeaderSize = -1\nElementDataFile = a.raw\n")
                    "a.raw", NiftiBytes.shorts false
                ]
            ]
            (runtime readImage)
        { make "metaimage-zlib" Mixed [ image "a.mha"; image "a.mhd" ] (runtime readImage) with
            Packed = true
        }
        { make "metaimage-field" Mixed [ fieldFile false "f.mha" ] (runtime readTransform) with
            Packed = true
        }
        make
            "nrrd"
            Mixed
            [
                [
                    "a.nrrd", Array.append (latin (nrrdHead + "encoding: raw\n\n")) (NiftiBytes.shorts true)
                ]
                [ "a.nrrd", latin (nrrdHead + "encoding: ascii\n\n" + numbers) ]
                [
                    "a.nhdr", latin (nrrdHead + "encoding: raw\ndata file: a.raw\nbyte skip: -1\n\n")
                    "a.raw", NiftiBytes.shorts true
                ]
            ]
            (runtime readImage)
        { make "nrrd-gzip" Mixed [ image "a.nrrd"; image "a.nhdr" ] (runtime readImage) with
            Packed = true
        }
        { make "nrrd-field" Mixed [ fieldFile false "f.nrrd" ] (runtime readTransform) with
            Packed = true
        }
        make "itk-text" Text itkText (runtime readTransform)
        make
            "itk-mat"
            Binary
            [
                written (fun folder ->
                    TransformFile.WriteAffine(folder </> "t.mat", obliqueAffine (random ()) true))
            ]
            (runtime readTransform)
        make "fsl" Text [ [ "t.mat", fsl ] ] (runtime readTransform)
        make "lta" Text [ [ "t.lta", lta 0 ]; [ "t.lta", lta 1 ] ] (runtime readTransform)
        { make
              "itk-hdf5"
              Binary
              [ composite ]
              (runtime (fun path -> TransformStore.read None None path |> ignore)) with
            Packed = true
        }
        make
            "csv-points"
            Text
            ([ "x_lps,y_lps,z_lps,name"; "i,j,k"; "x_ras,y_ras,z_ras" ]
             |> List.map (fun head -> [ "p.csv", latin (head + "\n1.5,2,3,a\n4,5,6,b\n") ]))
            (runtime readPoints)
        make "fcsv" Text (one "p.fcsv" fcsv) (runtime readPoints)
        make "mrk-json" Text (one "p.mrk.json" markups) (runtime readPoints)
        { make "safetensors" Mixed [ tensors ] (runtime (fun path -> Safetensors.Read path |> ignore)) with
            Inside = Some Mutation.insideSafetensors
        }
        { make
              "model"
              Mixed
              [ model ]
              (core (fun path ->
                  ModelFile.inspect path
                  |> Result.map (fun (card, _) -> Architecture.describe card.Architecture |> ignore))) with
            Inside = Some insideModel
        }
        { make "model-managed" Mixed [ model ] (runtime (fun path -> StudentModel.Load path |> ignore)) with
            Inside = Some insideModel
        }
        make
            "experiment"
            Text
            experiments
            (core (fun path ->
                Experiment.read path []
                |> Result.bind (fun experiment ->
                    match experiment.Data.Source with
                    | Synthetic _ ->
                        Dataset.load experiment.Data
                        |> Result.bind (Dataset.split experiment.Data.Split)
                        |> Result.map ignore
                        // Its own words say which file: the experiment's.
                        |> Result.mapError (fun error ->
                            BadInput $"{path}: {Error.lines error |> List.head}")
                    | _ -> Ok())))
        make
            "msd"
            Text
            (one "dataset.json" msd)
            (core (fun path -> Path.GetDirectoryName path |> string |> Dataset.ofFolder |> Result.map ignore))
        make "nnunet" Text (one "dataset.json" nnUnet) (core (readDescription (NnUnetForm.read 0)))
        make "learn2reg" Text (one "N_dataset.json" learn2Reg) (core (readDescription Learn2RegForm.read))
        make "csv-pairs" Text (one "pairs.csv" pairTable) (core (readDescription CsvForm.read))
        make "rcn" Text (one "r.json" rcnDescription) (core (readDescription RcnForm.read))
        if not cases.IsEmpty then
            { make "rcn-hdf5" Binary cases (core readCases) with
                Packed = true
            }
        make
            "field-store"
            Text
            (one "store.json" store)
            (core (fun path ->
                Path.GetDirectoryName path
                |> string
                |> FieldStore.openFolder
                |> Result.map ignore))
        make
            "scores"
            Text
            (one "scores.json" sheet)
            (core (fun path -> Codec.ofFile path Scores.sheet |> Result.map ignore))
    ]

/// The number that files beside an HDF5 file hold, and that is in none of it.
let private secret = 777.25

/// HDF5 files of transforms as h5py writes them, with files beside them that some of them name: links, trees, filters, values in
/// other files.
let private structured: (string * byte[]) list list =
    try
        written (fun folder ->
            python
                """
import h5py, numpy as np, sys, os
os.chdir(sys.argv[1])
secret = float(sys.argv[2])
def fill(group, values, **how):
    group.create_dataset("TransformType", data=np.array([b"AffineTransform_double_3_3"], dtype="S30"))
    if values is not None:
        group.create_dataset("TransformParameters", data=np.array(values, dtype=float), **how)
    group.create_dataset("TransformFixedParameters", data=np.zeros(3))
own, other = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], [secret, 0, 0, 0, secret, 0, 0, 0, secret, secret, 0, 0]
np.array(other, dtype=float).tofile("zsecret.bin")
with h5py.File("zother.h5", "w") as f:
    fill(f.create_group("TransformGroup/0"), other)
for lib in ["earliest", "latest"]:
    def make(name):
        return h5py.File(name + "-" + lib + ".h5", "w", libver=lib)
    with make("plain") as f:
        fill(f.create_group("TransformGroup/0"), own)
    with make("packed") as f:
        for i in range(7):
            fill(f.create_group("TransformGroup/%d" % i), own, chunks=(4,), compression="gzip", shuffle=True, fletcher32=True)
    with make("soft") as f:
        fill(f.create_group("real/0"), own)
        f["TransformGroup"] = h5py.SoftLink("/real")
        f["again"] = h5py.SoftLink("/real/0")
        f["hard"] = f["real"]
    with make("storage") as f:
        group = f.create_group("TransformGroup/0")
        fill(group, None)
        group.create_dataset("TransformParameters", shape=(12,), dtype=float, external=[("zsecret.bin", 0, 96)])
    with make("link") as f:
        f["TransformGroup"] = h5py.ExternalLink("zother.h5", "/TransformGroup")
    with make("virtual") as f:
        group = f.create_group("TransformGroup/0")
        fill(group, None)
        layout = h5py.VirtualLayout(shape=(12,), dtype=float)
        layout[:] = h5py.VirtualSource("zother.h5", "/TransformGroup/0/TransformParameters", shape=(12,))
        group.create_virtual_dataset("TransformParameters", layout)
with h5py.File("many-earliest.h5", "w", libver="earliest") as f:
    for i in range(60):
        f.create_group("g%d" % i)
    fill(f.create_group("TransformGroup/0"), own)
"""
                [ folder; string secret ]
            |> ignore)
        |> fun files ->
            let beside, own = files |> List.partition (fun (name, _) -> name.StartsWith 'z')

            [ for file in own -> file :: beside ]
    with _ ->
        []

/// Reads a transform; what another file holds must not be in it.
let private readOwn (path: string) =
    let rec look (transform: Transform) =
        match transform with
        | :? Transform.Linear as linear ->
            for row in 0..2 do
                for column in 0..3 do
                    if abs linear.World[row, column] = secret then
                        failwith "it holds what another file holds"
        | :? Transform.Sequence as sequence -> sequence.Parts |> Seq.iter look
        | _ -> ()

    TransformStore.read None None path |> look

/// HDF5 files that are damaged where their structure is. Not all of the true ones are read: some name other files.
let structures: Target list =
    [
        { make "hdf5-written-by-us" Binary [ composite ] (runtime readOwn) with
            Packed = true
            Change = Some Hdf5Mutation.structure
        }
        if not structured.IsEmpty then
            { make "hdf5-structure" Binary structured (runtime readOwn) with
                Packed = true
                Change = Some Hdf5Mutation.structure
            }
        if not cases.IsEmpty then
            { make "hdf5-cases" Binary cases (core readCases) with
                Packed = true
                Change = Some Hdf5Mutation.structure
            }
    ]
