namespace Ldr

open System
open TorchSharp

/// Between arrays (x fastest, as in volumes) and tensors.
module Bridge =
    /// A copy of the values as a float32 tensor of the given shape, on a device.
    let toTensor (device: torch.Device) (shape: int64[]) (values: float32[]) : torch.Tensor =
        let onCpu = torch.tensor (values, ReadOnlySpan<int64> shape)

        if device.``type`` = DeviceType.CPU then
            onCpu
        else
            use held = onCpu
            held.``to`` device

    /// A copy of a tensor's values.
    let toArray (tensor: torch.Tensor) : float32[] =
        use _ = torch.NewDisposeScope()
        let values = tensor.detach().cpu().contiguous()
        values.data<float32>().ToArray()
