/// What a model file is refused for.
module Ldr.Core.Tests.ModelFileTests

open System
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let tests =
    testList
        "model file"
        [
            testInFolder
                "a small file whose card claims a huge network is refused before anything is allocated"
                (fun folder ->
                    let path = folder </> "model.safetensors"
                    writeModel path
                    let file = Safetensors.Read path
                    let metadata = Collections.Generic.Dictionary file.Metadata

                    let claim architecture tensors =
                        metadata["architecture"] <- architecture
                        Safetensors.Write(path, metadata, tensors)
                        Expect.isLessThan (FileInfo(path).Length) 2048L "a small file"
                        let clock = Diagnostics.Stopwatch.StartNew()
                        let before = Diagnostics.Process.GetCurrentProcess().WorkingSet64

                        match ModelFile.read path with
                        | Ok _ -> failtest "accepted"
                        | Error e ->
                            Expect.stringContains
                                (String.Join("", Error.lines e))
                                "stage1.conv1.weight"
                                "message"

                        let after = Diagnostics.Process.GetCurrentProcess().WorkingSet64
                        Expect.isLessThan (after - before) (64L <<< 20) "bytes"
                        Expect.isLessThan clock.Elapsed.TotalSeconds 2.0 "seconds"

                    let vtn =
                        """{"kind": "cascade", "stages": 20, "stage": {"kind": "vtn", "levels": 7, "channels": 64}}"""

                    claim vtn []

                    claim
                        vtn
                        [
                            SafeTensor.FromFloats("stage1.conv1.weight", [| 1L |], ReadOnlySpan [| 1.0f |])
                        ])

            test "the shapes of an architecture are those of its network" {
                for architecture in
                    [
                        Architecture.Single(Stage.LdrHalf StudentWidths.slim)
                        Architecture.Cascade
                            {
                                Affine = Some(AffineStem.Affine 2)
                                Stages = 2
                                Stage = Stage.Vtn { Levels = 3; Channels = 2 }
                            }
                        Architecture.Cascade
                            {
                                Affine = Some(AffineLight 4)
                                Stages = 1
                                Stage = Stage.LdrReference
                            }
                        Architecture.Single Stage.VoxelMorph
                        Architecture.Single(Stage.Ldr StudentWidths.slim)
                    ] do
                    use network = Network.create (Seed.ofInt 1) architecture

                    let own =
                        [
                            for struct (name, tensor) in ModelFile.parameters network -> name, tensor.shape
                        ]

                    Expect.equal
                        (List.sortBy fst (Network.shapes architecture))
                        (List.sortBy fst own)
                        (Architecture.describe architecture)
            }

            testInFolder
                "a former model that does not say its decoder is read as the narrow ldr that it is, by both engines"
                (fun folder ->
                    let path = folder </> "former.safetensors"
                    let slim = Architecture.Single(Stage.Ldr StudentWidths.slim)

                    ModelFile.write
                        path
                        {
                            Network = Network.create (Seed.ofInt 1) slim
                            Card = ModelCard.untrained slim
                        }

                    let file = Safetensors.Read path
                    let metadata = Collections.Generic.Dictionary file.Metadata
                    Expect.stringContains metadata["architecture"] "[64,32,16]" "what is written now says it"

                    for architecture in [ """{"kind": "ldr"}"""; """{"kind": "ldr-slim"}""" ] do
                        metadata["architecture"] <- architecture
                        Safetensors.Write(path, metadata, file.Tensors)
                        let read = ModelFile.read path |> Error.orRaise
                        use network = read.Network
                        Expect.equal (Network.parameterCount network) 1_548_528L architecture
                        // It refuses tensors that its layers do not have.
                        use _ = new StudentEngine(StudentModel.Load path, 1)
                        ())

            testInFolder "the parameters of one's own layers are written and read" (fun folder ->
                let network seed =
                    let down = Layer.convolution (Seed.ofInt seed) "conv" (Filter.halving 4 2 4)
                    let up = Layer.transposed (Seed.ofInt seed) "flow" (Filter.doubling 4 3)
                    Network.ofLayers 2 [ Layer.(>=>) down up ]

                let numbers (network: Network) =
                    [ for p in network.parameters () -> List.ofArray (Bridge.toArray p) ]

                use written = network 1
                use target = network 2
                let path = folder </> "weights.safetensors"
                ModelFile.writeWeights path written
                Expect.notEqual (numbers target) (numbers written) "another seed"
                Expect.isOk (ModelFile.readWeights path target) "read"
                Expect.equal (numbers target) (numbers written) "the same numbers"
                Expect.isNone written.Architecture "no file says how to make it"

                use other =
                    Network.ofLayers 2 [ Layer.convolution (Seed.ofInt 1) "conv" (Filter.same 2 3) ]

                Expect.isError (ModelFile.readWeights path other) "other layers")

            testInFolder "a tensor of whole numbers is refused by its name" (fun folder ->
                let path = folder </> "model.safetensors"
                writeModel path
                let file = Safetensors.Read path

                let tensors =
                    file.Tensors
                    |> Seq.map (fun t ->
                        if t.Name = "stage1.conv2.weight" then
                            SafeTensor(t.Name, t.Shape, TensorType.I32, t.Bytes)
                        else
                            t)
                    |> Array.ofSeq

                Safetensors.Write(path, file.Metadata, tensors)

                match ModelFile.read path with
                | Ok _ -> failtest "accepted"
                | Error e ->
                    Expect.stringContains
                        (String.Join("", Error.lines e))
                        "\"stage1.conv2.weight\" holds I32"
                        "message")

            testInFolder "a card with a wild grid is refused" (fun folder ->
                let path = folder </> "model.safetensors"
                writeModel path
                let file = Safetensors.Read path

                for key, value, word in
                    [
                        "size", "[1000000,8,8]", "1024"
                        "size", "[1024,1024,1024]", "voxels in all"
                        "spacing", "[1e-300,1,1]", "mm"
                    ] do
                    let metadata = Collections.Generic.Dictionary file.Metadata
                    metadata[key] <- value
                    Safetensors.Write(path, metadata, file.Tensors)

                    match ModelFile.read path with
                    | Ok _ -> failtestf "%s %s accepted" key value
                    | Error e ->
                        let message = String.Join("", Error.lines e)
                        Expect.stringContains message key "key"
                        Expect.stringContains message word "demand")
        ]
