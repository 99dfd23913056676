module Ldr.Runtime.Tests.RegistrationTests

open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Registration

let private grid nx ny nz map = Grid(nx, ny, nz, map)

let private centresMeet (fixedGrid: Grid) (movingGrid: Grid) =
    let struct (x, y, z) = fixedGrid.Centre

    let struct (mx, my, mz) =
        InitialAlignment.BetweenCentres(fixedGrid, movingGrid).Apply(x, y, z)

    let struct (wx, wy, wz) = movingGrid.Centre
    Expect.floatClose Accuracy.high mx wx "x"
    Expect.floatClose Accuracy.high my wy "y"
    Expect.floatClose Accuracy.high mz wz "z"

let tests =
    testList
        "registration"
        [
            test "alignment by centres takes the fixed centre to the moving centre" {
                centresMeet (grid 35 51 35 (Affine.Translation(1, 1, 1))) (grid 42 40 28 Affine.Identity)

                centresMeet
                    (grid 10 20 30 (Affine.Scaling(2, 3, 4)))
                    (grid 31 40 28 (Affine.Translation(-80, 20, 7)))
            }
            test "scans that hardly overlap are aligned by centres whatever was wanted" {
                let here = grid 20 20 20 Affine.Identity
                let far = grid 20 20 20 (Affine.Translation(15, 0, 0))
                let near = grid 20 20 20 (Affine.Translation(5, 0, 0))
                let empty (grid: Grid) = Volume(grid, Array.zeroCreate 8000)

                let used other wanted =
                    let struct (used, _) = InitialAlignment.Find(empty here, empty other, wanted)
                    used

                Expect.equal (used far Alignment.World) Alignment.Centres "far"
                Expect.equal (used near Alignment.World) Alignment.World "near"
                Expect.equal (used near Alignment.Centres) Alignment.Centres "wanted"
            }
            test "an affine alignment is that of the optimisation" {
                let anatomy =
                    {
                        Size = 24, 24, 24
                        Subjects = 2
                        Structures = 4
                        Deformation = 1.0
                        Noise = 0.01
                        Seed = 3
                    }

                let one, two = fst (Anatomy.subject anatomy 0), fst (Anatomy.subject anatomy 1)
                let struct (used, map) = InitialAlignment.Find(one, two, Alignment.Affine)
                Expect.equal used Alignment.Affine "used"
                Expect.equal map (AffineAlignment.Run(one, two, AffineFreedom.Full)).World "map"
            }
            test "a model's grid keeps the lattice of a scan with its spacing" {
                let scan = grid 35 51 70 (Affine.Translation(4, 5, 6))
                let around = ModelGrid.Around(scan, struct (1.0, 1.0, 1.0), struct (48, 64, 48))
                Expect.equal (around.Nx, around.Ny, around.Nz) (48, 64, 70) "at least the training size"
                let struct (x, y, z) = around.VoxelToWorld.Apply(6, 6, 0)
                Expect.equal (x, y, z) (4.0, 5.0, 6.0) "the scan's first voxel is voxel (6, 6, 0)"
            }
            test "a header in metres needs more voxels than any network gets, and the count says so" {
                let metres = grid 100 100 100 (Affine.Scaling(1000, 1000, 1000))
                let unit, size = struct (1.0, 1.0, 1.0), struct (48, 64, 48)
                Expect.equal (ModelGrid.CountAround(metres, unit, size)) 1e15 "100 m a side, in mm"

                Expect.isGreaterThan
                    (ModelGrid.CountAround(metres, struct (1e-300, 1.0, 1.0), size))
                    1e15
                    "beyond whole numbers"

                Expect.throwsT<System.ArgumentException>
                    (fun () -> ModelGrid.Around(metres, unit, size) |> ignore)
                    "refused"
            }
            test "a canvas crops a larger scan around its centre" {
                let scan = grid 50 50 50 Affine.Identity
                let canvas = ModelGrid.Canvas(scan, struct (1.0, 1.0, 1.0), struct (48, 40, 64))
                let struct (x, y, z) = canvas.VoxelToWorld.Apply(0, 0, 0)
                Expect.equal (x, y, z) (1.0, 5.0, -7.0) "its first voxel"
            }
            test "a scan of another spacing or orientation gets a RAS grid that covers it" {
                // LIA, 2 × 1 × 3 mm.
                let map = Affine.FromRows([| -2.0; 0; 0; 90; 0; 0; 3.0; -120; 0; -1.0; 0; 60 |])
                let scan = grid 40 50 30 map
                let around = ModelGrid.Around(scan, struct (1.5, 1.5, 1.5), struct (16, 16, 16))
                Expect.equal around.Orientation "RAS" "orientation"
                Expect.equal (around.Nx, around.Ny, around.Nz) (54, 60, 34) "80 × 90 × 50 mm in steps of 1.5"
                Expect.floatClose Accuracy.high (around.OverlapWith scan) 1.0 "it covers the scan"
                let struct (x, y, z) = around.Centre
                let struct (sx, sy, sz) = scan.Centre
                Expect.floatClose Accuracy.high (abs (x - sx) + abs (y - sy) + abs (z - sz)) 0.0 "one centre"
            }
        ]
