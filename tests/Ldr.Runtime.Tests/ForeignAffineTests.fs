/// Affine maps of FSL and FreeSurfer: answers worked out by hand from the two programs' definitions.
module Ldr.Runtime.Tests.ForeignAffineTests

open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

/// The world of the MNI152 template in voxels of 2 mm, x stored from right to left, as FSL ships it.
let private template2 =
    Grid(91, 109, 91, Affine.FromRows(-2., 0., 0., 90., 0., 2., 0., -126., 0., 0., 2., -72.))

/// The same world in voxels of 1 mm, stored in the same order.
let private template1 =
    Grid(182, 218, 182, Affine.FromRows(-1., 0., 0., 90., 0., 1., 0., -126., 0., 0., 1., -72.))

/// The same voxels as `template1`, stored from left to right.
let private turned1 =
    Grid(182, 218, 182, Affine.FromRows(1., 0., 0., -91., 0., 1., 0., -126., 0., 0., 1., -72.))

let private map folder (fixedGrid: Grid) (movingGrid: Grid) (matrix: string) =
    let path = folder </> "flirt.mat"
    File.WriteAllText(path, matrix)

    match TransformStore.read (Some fixedGrid) (Some movingGrid) path with
    | :? Transform.Linear as linear -> linear.World
    | other -> failtest $"{other}"

let private identity = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"

let private lta kind (matrix: string list) (source: string list) (target: string list) =
    String.concat
        "\n"
        ([
            "# transform file /data/register.lta"
            "# created by someone on Mon Jan  1 00:00:00 2024"
            ""
            $"type      = {kind} # LINEAR_RAS_TO_RAS"
            "nxforms   = 1"
            "mean      = 0.0000 0.0000 0.0000"
            "sigma     = 1.0000"
            "1 4 4"
         ]
         @ matrix
         @ [
             "src volume info"
             "valid = 1  # volume info valid"
             "filename = /data/moving.mgz"
         ]
         @ source
         @ [
             "dst volume info"
             "valid = 1  # volume info valid"
             "filename = /data/fixed.mgz"
         ]
         @ target
         @ [ "subject fsaverage"; "fscale 0.15"; "" ])

/// FreeSurfer's own: 256³ voxels of 1 mm; voxel (i, j, k) is at (128 − i, k − 128, 128 − j).
let private conformed =
    [
        "volume = 256 256 256"
        "voxelsize = 1.000000000000000e+00 1.000000000000000e+00 1.000000000000000e+00"
        "xras   = -1 0 0"
        "yras   = 0 0 -1"
        "zras   = 0 1 0"
        "cras   = 0 0 0"
    ]

/// Voxel (i, j, k) is at (2i − 95, 2j − 114, 3k − 113).
let private coarse =
    [
        "volume = 100 120 80"
        "voxelsize = 2 2 3"
        "xras   = 1 0 0"
        "yras   = 0 1 0"
        "zras   = 0 0 1"
        "cras   = 5 6 7"
    ]

let private unchanged = [ "1 0 0 0"; "0 1 0 0"; "0 0 1 0"; "0 0 0 1" ]

let private ltaMap folder (content: string) =
    let path = folder </> "register.lta"
    File.WriteAllText(path, content)

    match TransformStore.read None None path with
    | :? Transform.Linear as linear -> linear.World
    | other -> failtest $"{other}"

let private goes (world: Affine) from into what =
    let struct (x, y, z) = from
    Expect.isLessThan (distance (world.Apply(x, y, z)) into) 1e-9 what

let private origin = struct (0., 0., 0.)

let tests =
    testList
        "foreign affine maps"
        [
            testInFolder
                "FLIRT: the identity keeps places of one template, whatever its voxels and their order"
            <| fun folder ->
                for movingGrid in [ template2; template1; turned1 ] do
                    for fixedGrid in [ template2; template1; turned1 ] do
                        let world = map folder fixedGrid movingGrid identity

                        Expect.isTrue
                            (world.IsCloseTo(Affine.Identity, 1e-9))
                            $"{fixedGrid} from {movingGrid}"

            testInFolder "FLIRT: a shift, and a quarter turn, from moving to fixed millimetres"
            <| fun folder ->
                // x counts from right to left: what lies 5 mm further to the left in the fixed scan comes from there.
                let shift = "1 0 0 5\n0 1 0 -7\n0 0 1 2\n0 0 0 1\n"
                goes (map folder template2 template1 shift) origin (struct (5., 7., -2.)) "shift"

                goes
                    (map folder template2 turned1 shift)
                    origin
                    (struct (5., 7., -2.))
                    "stored the other way round"

                // Fixed (100 − y, x, z) comes from moving (x, y, z): the origin, at (90, 126, 72), from (126, 10, 72).
                let turn = "0 -1 0 100\n1 0 0 0\n0 0 1 0\n0 0 0 1\n"
                goes (map folder template2 template1 turn) origin (struct (-36., -116., 0.)) "turn"

            testInFolder "FLIRT: without the scans, with other counts, singular: refused"
            <| fun folder ->
                let path = folder </> "flirt.mat"
                File.WriteAllText(path, identity)
                refuses path "its reference scan and its moving scan" (fun () -> TransformFile.Read path)
                File.WriteAllText(path, "1 0 0 0\n0 1 0 0\n0 0 1 0\n")
                refuses path "12 numbers" (fun () -> TransformFile.Read(path, template1, template1))
                File.WriteAllText(path, "1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n")
                refuses path "singular" (fun () -> TransformFile.Read(path, template1, template1))

            testInFolder "FreeSurfer: RAS to RAS goes from moving to fixed"
            <| fun folder ->
                let shift = [ "1 0 0 10"; "0 1 0 -20"; "0 0 1 30"; "0 0 0 1" ]
                let world = ltaMap folder (lta 1 shift conformed coarse)
                goes world origin (struct (-10., 20., -30.)) "shift"
                let turn = [ "0 -1 0 100"; "1 0 0 0"; "0 0 1 0"; "0 0 0 1" ]
                let world = ltaMap folder (lta 1 turn conformed coarse)
                // Fixed (100 − y, x, z) comes from moving (x, y, z).
                goes world (struct (3., 4., 5.)) (struct (4., 97., 5.)) "turn"

            testInFolder "FreeSurfer: voxel to voxel, by the two volume infos"
            <| fun folder ->
                let world = ltaMap folder (lta 0 unchanged conformed coarse)
                // Fixed voxel (50, 60, 40) is moving voxel (50, 60, 40).
                goes world (struct (5., 6., 7.)) (struct (78., -88., 68.)) "the centre"
                goes world (struct (7., 6., 7.)) (struct (77., -88., 68.)) "a step along x"
                goes world (struct (5., 8., 7.)) (struct (78., -88., 67.)) "a step along y"
                goes world (struct (5., 6., 10.)) (struct (78., -87., 68.)) "a step along z"

                let shift = [ "1 0 0 4"; "0 1 0 0"; "0 0 1 0"; "0 0 0 1" ]
                let world = ltaMap folder (lta 0 shift conformed coarse)
                goes world (struct (5., 6., 7.)) (struct (82., -88., 68.)) "moving voxel 46"

            testInFolder "FreeSurfer: other kinds, and half a file, are refused"
            <| fun folder ->
                let path = folder </> "register.lta"

                for content, words in
                    [
                        lta 14 unchanged conformed coarse, "no single affine map"
                        (lta 1 unchanged conformed coarse).Split("dst volume")[0], "no single affine map"
                        lta 0 unchanged (List.take 3 conformed) coarse, "no line"
                        lta 1 [ "0 0 0 0"; "0 1 0 0"; "0 0 1 0"; "0 0 0 1" ] conformed coarse, "singular"
                    ] do
                    File.WriteAllText(path, content)
                    refuses path words (fun () -> TransformFile.Read path)
        ]
