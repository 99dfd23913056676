module Ldr.Cli.Program

[<EntryPoint>]
let main _ =
    printfn "%A" (TorchSharp.torch.ones(3L).sum().item<float32> ())
    0
