/// That distillation happens: what each step moves, and what it holds.
module Ldr.Tests.Core.AldkTests

open Expecto
open TorchSharp
open Ldr

let private size = [| 1L; 1L; 32L; 32L; 32L |]

let private image (seed: int) =
    use generator = new torch.Generator(uint64 seed)
    let coarse = torch.rand ([| 1L; 1L; 5L; 5L; 5L |], generator = generator)
    torch.nn.functional.interpolate (coarse, size = size[2..], mode = torch.InterpolationMode.Trilinear)

let private distillation objective =
    {
        Teacher = "teacher"
        Objective = objective
        Beta = 0.1
        Penalty = 0.1
        Schedule = [ { Steps = None; Cycle = [ 0.0 ] } ]
        Discriminator = { Widths = [ 4; 8; 8 ] }
        DiscriminatorRate = 1e-3
    }

let private narrow =
    Architecture.Single(
        Stage.LdrHalf
            {
                Encoder = [ 4; 4; 8; 8 ]
                Decoder = [ 8; 4; 4 ]
            }
    )

/// A network whose fields are a few voxels long, so that teacher and student differ.
let private shaken seed =
    let network = Network.create (Seed.ofInt seed) narrow
    use _ = torch.no_grad ()

    for struct (name, parameter) in network.named_parameters () do
        if name.Contains "flow" && name.EndsWith "weight" then
            parameter.normal_ (0.0, 0.5, generator = new torch.Generator(uint64 seed))
            |> ignore

    network

[<NoEquality; NoComparison>]
type private Bench =
    {
        Student: Learner<Network>
        Adversary: Adversary
        Iteration: float -> Iteration
    }

let private bench objective =
    let student = shaken 1
    let teacher = shaken 2
    let discriminator = Discriminator.create (Seed.ofInt 3) { Widths = [ 4; 8; 8 ] }
    let fixedImage, moving, mask = image 4, image 5, torch.ones size

    {
        Student =
            {
                Network = student
                Optimiser = torch.optim.Adam(student.parameters (), 1e-3)
            }
        Adversary =
            {
                TeacherNetwork = teacher
                Judge =
                    {
                        Network = discriminator
                        Optimiser = torch.optim.Adam(discriminator.parameters (), 1e-3)
                    }
                Distillation = distillation objective
            }
        Iteration =
            fun gamma ->
                {
                    Gamma = gamma
                    Fixed = fixedImage
                    Moving = moving
                    Mask = mask
                    Student = lazy student.Predict(fixedImage, moving)
                    TeacherField =
                        lazy
                            (use _ = torch.no_grad ()
                             teacher.Predict(fixedImage, moving).Field)
                }
    }

let private values (network: torch.nn.Module) =
    [| for parameter in network.parameters () -> Bridge.toArray parameter |]

let private gradient (network: torch.nn.Module) =
    network.parameters ()
    |> Seq.sumBy (fun p ->
        match p.grad with
        | null -> 0.0
        | g -> float (g.abs().sum().item<float32>()))

let private silent =
    {
        Smoothness = 0.0
        Determinant = 0.0
        Orthogonality = 0.0
    }

let private objectives = [ "squared gap", SquaredGap; "critic", Critic ]

let tests =
    testSequenced
    <| testList
        "aldk"
        [
            for name, objective in objectives do
                test
                    $"{name}: the adversarial term alone moves the student, and not the teacher nor the discriminator" {
                    let b = bench objective

                    let student, teacher, judge =
                        values b.Student.Network,
                        values b.Adversary.TeacherNetwork,
                        values b.Adversary.Judge.Network

                    use _ = torch.NewDisposeScope()
                    // γ = 0 and no regulariser: nothing but the adversarial term is left.
                    Aldk.studentStep b.Student silent (Some b.Adversary) 0 (b.Iteration 0.0)
                    |> ignore

                    Expect.isGreaterThan (gradient b.Student.Network) 0.0 "the student has a gradient"
                    Expect.equal (gradient b.Adversary.TeacherNetwork) 0.0 "the teacher has none"
                    Expect.equal (gradient b.Adversary.Judge.Network) 0.0 "the discriminator has none"
                    Expect.notEqual (values b.Student.Network) student "the student moved"

                    Expect.equal
                        (values b.Adversary.TeacherNetwork)
                        teacher
                        "the teacher is the same to the bit"

                    Expect.equal (values b.Adversary.Judge.Network) judge "the discriminator is the same"
                }

                test $"{name}: the discriminator moves in its own step only, and nothing else then" {
                    let b = bench objective

                    let student, teacher, judge =
                        values b.Student.Network,
                        values b.Adversary.TeacherNetwork,
                        values b.Adversary.Judge.Network

                    use _ = torch.NewDisposeScope()
                    Aldk.discriminatorStep b.Adversary 0 (b.Iteration 0.0) |> ignore
                    Expect.notEqual (values b.Adversary.Judge.Network) judge "it moved"
                    Expect.equal (values b.Student.Network) student "the student is the same"
                    Expect.equal (values b.Adversary.TeacherNetwork) teacher "the teacher is the same"
                    Expect.equal (gradient b.Student.Network) 0.0 "the student has no gradient of it"
                }

                test $"{name}: the discriminator learns to tell the fields apart" {
                    let b = bench objective

                    let terms =
                        [
                            for step in 0..30 do
                                use _ = torch.NewDisposeScope()
                                let report = Aldk.discriminatorStep b.Adversary step (b.Iteration 0.0)
                                report |> List.find (fun (n, _) -> n = "discriminator") |> snd
                        ]

                    Expect.isLessThan (List.last terms) terms.Head "its loss falls"
                }

            test "with γ = 1 the adversary is left alone" {
                let b = bench SquaredGap
                let judge = values b.Adversary.Judge.Network
                use _ = torch.NewDisposeScope()
                let report = Aldk.step b.Student silent (Some b.Adversary) 0 (b.Iteration 1.0)
                Expect.equal (values b.Adversary.Judge.Network) judge "the discriminator is the same"

                Expect.equal
                    (report |> List.map fst |> List.contains "adversarial")
                    false
                    "no adversarial term"
            }

            test "reconstruction steps raise the similarity" {
                let b = bench SquaredGap

                let losses =
                    [
                        for step in 0..40 do
                            use _ = torch.NewDisposeScope()
                            let report = Aldk.step b.Student silent None step (b.Iteration 1.0)
                            report |> List.find (fun (n, _) -> n = "similarity") |> snd
                    ]

                Expect.isLessThan (List.last losses) (0.8 * losses.Head) "1 − correlation falls by a fifth"
            }

            for name, step in
                [
                    "student", (fun b -> Aldk.studentStep b.Student silent (Some b.Adversary))
                    "discriminator", (fun b -> Aldk.discriminatorStep b.Adversary)
                    "reconstruction", (fun b -> Aldk.studentStep b.Student silent None)
                ] do
                test $"the {name} step leaves no tensor behind" {
                    let b = bench SquaredGap
                    let act = step b

                    let round index =
                        use _ = torch.NewDisposeScope()
                        act index (b.Iteration 0.0) |> ignore

                    // The first rounds make the gradients, which stay.
                    round 0
                    round 1
                    let before = DisposeScopeManager.Statistics.ThreadTotalLiveCount
                    round 2
                    round 3
                    round 4
                    Expect.equal DisposeScopeManager.Statistics.ThreadTotalLiveCount before "tensors alive"
                }
        ]
