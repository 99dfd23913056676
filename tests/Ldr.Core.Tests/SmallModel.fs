/// A model for tests that need one; Ldr.Cli.Tests compiles this file too.
module Ldr.Core.Tests.SmallModel

open TorchSharp
open Ldr
open Ldr.Runtime.Geometry

/// A small model with random weights whose fields are about a voxel long; nothing is learnt.
let writeModel (path: string) =
    let architecture =
        Architecture.Single(
            Stage.LdrHalf
                {
                    Encoder = [ 4; 4; 8; 8 ]
                    Decoder = [ 8; 4; 4 ]
                }
        )

    use network = Network.create (Seed.ofInt 1) architecture
    use _ = torch.no_grad ()

    for struct (name, parameter) in network.named_parameters () do
        if name.Contains "flow" && name.EndsWith "weight" then
            parameter.normal_ (0.0, 0.4, generator = new torch.Generator(5UL)) |> ignore

    ModelFile.write
        path
        {
            Network = network
            Card =
                { ModelCard.untrained architecture with
                    Size = 32, 32, 32
                    Alignment = Alignment.Centres
                }
        }
