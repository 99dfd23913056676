namespace Ldr

open TorchSharp

/// What computes a training.
module TrainingEngine =
    let private stage (stage: Stage) : string option =
        match stage with
        | Stage.Ldr _
        | Stage.LdrHalf _
        | Stage.LdrVelocity _
        | Stage.Vtn _ -> None
        | Stage.LdrReference -> Some "ldr-reference"
        | Stage.VoxelMorph -> Some "voxelmorph"

    let private stem (x: int, y: int, z: int) (stem: AffineStem) : string option =
        match stem with
        | Affine _ -> Some "affine"
        | AffineLight _ when ManagedTrunk.canHalve ManagedTrunk.halvings [ int64 x; int64 y; int64 z ] -> None
        | AffineLight _ -> Some $"affine-light on {x}×{y}×{z}, no multiples of 16"

    /// `managed` where our kernels train the network, and why not where libtorch does.
    let describe (device: torch.Device) (architecture: Architecture) (size: int * int * int) : string =
        let cascade = Architecture.asCascade architecture

        let others =
            [
                yield! cascade.Affine |> Option.bind (stem size) |> Option.toList
                if cascade.Stages > 0 then
                    yield! stage cascade.Stage |> Option.toList
            ]

        let all =
            (if cascade.Affine.IsSome then 1 else 0) + (if cascade.Stages > 0 then 1 else 0)

        if not (OwnKernels.areUsed ()) then
            $"torch, as asked for{OneDnn.remark ()}"
        elif device.``type`` <> DeviceType.CPU then
            "torch, on the graphics card"
        else
            match others with
            | [] -> "managed"
            | _ when others.Length < all ->
                let names = String.concat ", " others
                $"managed; torch for {names}{OneDnn.remark ()}"
            | _ ->
                let names = String.concat ", " others
                $"torch, which alone trains {names}{OneDnn.remark ()}"
