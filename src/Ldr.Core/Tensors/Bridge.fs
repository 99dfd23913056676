namespace Ldr

open System
open System.Runtime.InteropServices
open TorchSharp

/// Between arrays (x fastest, as in volumes) and tensors.
module Bridge =
    /// A copy of values, one part after the other, as a float32 tensor of the given shape, on a device. A part has less than 2³¹
    /// bytes.
    let ofParts (device: torch.Device) (shape: int64[]) (parts: float32[] list) : torch.Tensor =
        let count = parts |> List.sumBy _.LongLength

        if count <> Array.fold (*) 1L shape then
            let shape = shape |> Array.map string |> String.concat "×"
            invalidArg (nameof parts) $"{count} values for {shape}"

        let onCpu = torch.empty (shape, dtype = torch.float32, device = torch.CPU)
        use flat = onCpu.view -1L
        let mutable start = 0L

        for part in parts do
            use target = flat.narrow (0L, start, part.LongLength)
            MemoryMarshal.AsBytes(part.AsSpan()).CopyTo target.bytes
            start <- start + part.LongLength

        if device.``type`` = DeviceType.CPU then
            onCpu
        else
            use held = onCpu
            held.``to`` device

    /// A copy of the values as a float32 tensor of the given shape, on a device.
    let toTensor (device: torch.Device) (shape: int64[]) (values: float32[]) : torch.Tensor =
        ofParts device shape [ values ]

    /// A copy of a tensor's values.
    let toArray (tensor: torch.Tensor) : float32[] =
        use _ = torch.NewDisposeScope()
        let values = tensor.detach().cpu().contiguous()
        values.data<float32>().ToArray()
