/// That distillation happens: what each step moves, and what it holds.
module Ldr.Core.Tests.AldkTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

let private size = [| 1L; 1L; 32L; 32L; 32L |]

let private image (seed: int) =
    use generator = new torch.Generator(uint64 seed)
    let coarse = torch.rand ([| 1L; 1L; 5L; 5L; 5L |], generator = generator)
    torch.nn.functional.interpolate (coarse, size = size[2..], mode = torch.InterpolationMode.Trilinear)

let private judged =
    {
        Widths = [ 4; 8; 8 ]
        Conditioned = true
        FullSize = true
        FirstRelu = true
    }

let private distillation objective =
    {
        Teacher = "teacher"
        Objective = objective
        Weight = 1.0
        FieldDistance = 0.0
        FieldWeights = Even
        FieldDerivatives = 0.0
        Beta = 0.1
        Penalty = 0.1
        PenaltyPlayers = DiscriminatorAlone
        Schedule = []
        Discriminator = judged
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
        Teacher: Network
        Judge: Learner<Discriminator>
        Adversary: Adversary
        /// A step of one batch.
        Iteration: float -> Iteration list
    }

let private benchOf (options: Distillation) =
    let objective = options.Objective
    let student = shaken 1
    let teacher = shaken 2

    let judge: Learner<Discriminator> =
        let network = Discriminator.create (Seed.ofInt 3) judged

        {
            Network = network
            Optimiser = torch.optim.Adam(network.parameters (), 1e-3)
            Ranks = Ranks.alone
        }

    let fixedImage, moving = image 4, image 5

    {
        Student =
            {
                Network = student
                Optimiser = torch.optim.Adam(student.parameters (), 1e-3)
                Ranks = Ranks.alone
            }
        Teacher = teacher
        Judge = judge
        Adversary =
            {
                Judge =
                    if Objective.isAdversarial objective then
                        Some judge
                    else
                        None
                Distillation = options
            }
        Iteration =
            fun gamma ->

                let turn =
                    {
                        Gamma = gamma
                        DiscriminatorMoves = if gamma < 1.0 then 1 else 0
                    }

                [ Iteration.ofTensors turn student teacher fixedImage moving ]
    }

let private bench objective = benchOf (distillation objective)

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
        Similarity = Correlation
        Smoothness = 0.0
        Bending = 0.0
        LogJacobian = 0.0
        InverseConsistency = 0.0
        Determinant = 0.0
        Orthogonality = 0.0
        Dice = 0.0
        LabelDistance = 0.0
    }

let private speaking =
    { silent with
        Smoothness = 1.0
        LogJacobian = 0.1
    }

let private adversarial =
    [
        "squared gap", SquaredGap
        "mean features", MeanFeatures
        "patch gap", PatchGap
        "critic", Critic
        "feature gap", FeatureGap
    ]

/// Both readings of the published formula.
let private readings = adversarial |> List.truncate 2

/// With the gradient penalty in the student's loss too.
let private both objective =
    { distillation objective with
        PenaltyPlayers = BothPlayers
    }

let private objectives = adversarial @ [ "field distance", FieldDistance ]

let private find name (report: Metrics) =
    report |> List.find (fun (n, _) -> n = name) |> snd

/// The mean squared length of the difference between the student's and the teacher's field, voxels².
let private error (b: Bench) =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    let iteration = (b.Iteration 1.0).Head
    let gap = iteration.Student.Value.Field - iteration.TeacherField.Value
    float (gap.square().sum(1L).mean().item<float32>())

let private gradients (network: torch.nn.Module) : float[] =
    [|
        for parameter in network.parameters () do
            match parameter.grad with
            | null -> ()
            | own -> yield! numbers own
    |]

/// A cascade with an affine stage, all of whose terms of the loss count.
let private cascaded () =
    let architecture =
        Architecture.Cascade
            {
                Affine = Some(AffineLight 2)
                Stages = 2
                Stage =
                    Stage.LdrHalf
                        {
                            Encoder = [ 4; 4; 8; 8 ]
                            Decoder = [ 8; 4; 4 ]
                        }
            }

    let network = Network.create (Seed.ofInt 6) architecture
    use _ = torch.no_grad ()

    for struct (name, parameter) in network.named_parameters () do
        let deviation =
            if name.Contains "flow" then 0.3
            elif name.Contains "matrix" then 0.3
            else 0.0

        if deviation > 0.0 && name.EndsWith "weight" then
            parameter.normal_ (0.0, deviation, generator = new torch.Generator(6UL))
            |> ignore

    network

let private maps (seed: int) =
    torch.cat ([| image seed; image (seed + 1) |], 1L)

let tests =
    testSequenced
    <| testList
        "aldk"
        [
            for name, options in
                [
                    for name, objective in objectives -> name, distillation objective
                    for name, objective in readings -> $"{name}, penalty in both", both objective
                ] do
                test
                    $"{name}: the adversarial term alone moves the student, and not the teacher nor the discriminator" {
                    let b = benchOf options

                    let student, teacher, judge =
                        values b.Student.Network, values b.Teacher, values b.Judge.Network

                    use _ = torch.NewDisposeScope()
                    // γ = 0 and no regulariser: nothing but the adversarial term is left.
                    Aldk.studentStep b.Student silent None (Some b.Adversary) 0 (b.Iteration 0.0)
                    |> ignore

                    Expect.isGreaterThan (gradient b.Student.Network) 0.0 "the student has a gradient"
                    Expect.equal (gradient b.Teacher) 0.0 "the teacher has none"
                    Expect.equal (gradient b.Judge.Network) 0.0 "the discriminator has none"
                    Expect.notEqual (values b.Student.Network) student "the student moved"
                    Expect.equal (values b.Teacher) teacher "the teacher is the same to the bit"
                    Expect.equal (values b.Judge.Network) judge "the discriminator is the same"
                }

            // The gaps and the critic, whose features say little about where fields differ, do not do
            // this: docs/reference/distillation.md has the figures.
            let byStrain =
                { distillation FieldDistance with
                    FieldWeights = Strain
                    FieldDerivatives = 0.3
                }

            for name, options in
                [
                    "feature gap", distillation FeatureGap
                    "field distance", distillation FieldDistance
                    "field distance, by strain and with derivatives", byStrain
                ] do
                test $"{name}: by γ = 0 alone a student comes to its teacher's fields" {
                    let b = bench options.Objective

                    let b =
                        { b with
                            Adversary =
                                { b.Adversary with
                                    Distillation = options
                                }
                        }

                    let teacher = values b.Teacher
                    let before = error b

                    for step in 0..99 do
                        use _ = torch.NewDisposeScope()

                        Aldk.step b.Student silent None (Some b.Adversary) step (b.Iteration 0.0)
                        |> ignore

                    let after = error b

                    Expect.equal (values b.Teacher) teacher "the teacher is the same to the bit"
                    Expect.isLessThan after (before / 2.0) $"the squared error, {before:F3} before"
                }

            for name, objective in adversarial do
                test
                    $"{name}: the student's gradient is that of finite differences, and none where the fields agree" {
                    let fixedImage, moving = image 4, image 5

                    use judge = Discriminator.create (Seed.ofInt 3) judged
                    judge.``to`` torch.float64 |> ignore
                    let images = torch.cat ([| fixedImage; moving |], 1L)

                    let small =
                        (images.narrow(2L, 8L, 5L).narrow(3L, 8L, 5L).narrow(4L, 8L, 5L)).``to`` torch.float64

                    let term (teacher: torch.Tensor) (student: torch.Tensor) =
                        let normalise = Discrimination.normalise teacher

                        Discrimination.studentTerm
                            objective
                            (judge.Judge(small, normalise student))
                            (judge.Judge(small, normalise teacher))

                    use _ = torch.NewDisposeScope()
                    let teacher = precise 1 (-2.0, 2.0) [ 1; 3; 5; 5; 5 ]
                    let student = precise 2 (-2.0, 2.0) [ 1; 3; 5; 5; 5 ]
                    let expected = slope (term teacher) student
                    Expect.isGreaterThan (largest expected) 1e-9 "there is a slope"

                    expectClose
                        (1e-4 * largest expected)
                        (Ldr.Core.Tests.TensorSupport.gradient (term teacher) student)
                        expected
                        "gradient"

                    if objective <> Critic then
                        Expect.equal
                            (largest (Ldr.Core.Tests.TensorSupport.gradient (term teacher) (teacher.clone ())))
                            0.0
                            "at the goal"
                }

                test $"{name}: the discriminator moves in its own step only, and nothing else then" {
                    let b = bench objective

                    let student, teacher, judge =
                        values b.Student.Network, values b.Teacher, values b.Judge.Network

                    use _ = torch.NewDisposeScope()

                    Aldk.discriminatorStep b.Judge b.Adversary.Distillation 0 (b.Iteration 0.0)
                    |> ignore

                    Expect.notEqual (values b.Judge.Network) judge "it moved"
                    Expect.equal (values b.Student.Network) student "the student is the same"
                    Expect.equal (values b.Teacher) teacher "the teacher is the same"
                    Expect.equal (gradient b.Student.Network) 0.0 "the student has no gradient of it"
                }

                test $"{name}: the discriminator learns to tell the fields apart" {
                    let b = bench objective

                    let terms =
                        [
                            for step in 0..30 do
                                use _ = torch.NewDisposeScope()

                                Aldk.discriminatorStep b.Judge b.Adversary.Distillation step (b.Iteration 0.0)
                                |> find "discriminator"
                        ]

                    Expect.isLessThan (List.last terms) terms.Head "its loss falls"
                }

            for (name, objective), bound in List.zip readings [ 1.0; float (List.last judged.Widths) ] do
                for players, options in
                    [
                        "the discriminator's", distillation objective
                        "both players'", both objective
                    ] do
                    test
                        $"{name}, penalty {players}: by γ = 0 alone the discriminator wins, and the student drifts" {
                        let b = benchOf options
                        let before = error b

                        let gaps =
                            [
                                for step in 0..59 do
                                    use _ = torch.NewDisposeScope()

                                    Aldk.step b.Student silent None (Some b.Adversary) step (b.Iteration 0.0)
                                    |> find "objective"
                            ]

                        Expect.isLessThan gaps.Head (0.01 * bound) "at first it tells nothing apart"
                        Expect.isGreaterThan (List.last gaps) (0.25 * bound) "then it does"
                        Expect.isLessThanOrEqual (List.max gaps) bound "the gap is bounded"
                        Expect.isGreaterThan (error b) (1.2 * before) "the student's field is farther off"
                    }

            test
                "the penalty in the student's loss moves the student, also where its fields are the teacher's" {
                let after options =
                    let b = benchOf options
                    use _ = torch.NewDisposeScope()

                    let same =
                        { (b.Iteration 0.0).Head with
                            TeacherField = lazy (b.Iteration 0.0).Head.StudentField.Value
                        }

                    let report = Aldk.studentStep b.Student silent None (Some b.Adversary) 0 [ same ]

                    report, gradient b.Student.Network

                let report, alone = after (distillation SquaredGap)
                Expect.isFalse (report |> List.map fst |> List.contains "student_penalty") "not worked out"
                Expect.isLessThan alone 1e-6 "no gap, no gradient"

                let report, one = after (both SquaredGap)
                let _, three = after { both SquaredGap with Penalty = 0.3 }
                Expect.isGreaterThan (find "student_penalty" report) 0.1 "reported"
                Expect.isGreaterThan one (1e-7 + 100.0 * alone) "there is a gradient"
                Expect.floatClose Accuracy.low (three / one) 3.0 "three times as much with three times λ"
            }

            test "with γ = 1 the adversary is left alone" {
                let b = bench SquaredGap
                let judge = values b.Judge.Network
                use _ = torch.NewDisposeScope()

                let report = Aldk.step b.Student silent None (Some b.Adversary) 0 (b.Iteration 1.0)

                Expect.equal (values b.Judge.Network) judge "the discriminator is the same"
                Expect.isFalse (report |> List.map fst |> List.contains "objective") "no adversarial term"
            }

            test "the distance beside an objective of no weight is the distance alone" {
                let alone, beside = bench FieldDistance, bench Critic

                let beside =
                    { beside with
                        Adversary =
                            { beside.Adversary with
                                Distillation =
                                    { distillation Critic with
                                        Weight = 0.0
                                        FieldDistance = 0.5
                                    }
                            }
                    }

                let alone =
                    { alone with
                        Adversary =
                            { alone.Adversary with
                                Distillation =
                                    { distillation FieldDistance with
                                        Weight = 0.5
                                    }
                            }
                    }

                for step in 0..2 do
                    for b in [ alone; beside ] do
                        use _ = torch.NewDisposeScope()

                        Aldk.studentStep b.Student silent None (Some b.Adversary) step (b.Iteration 0.3)
                        |> ignore

                for a, b in Array.zip (values alone.Student.Network) (values beside.Student.Network) do
                    Expect.sequenceEqual b a "weights"

                let off = bench Critic

                Expect.notEqual
                    (values beside.Student.Network)
                    (values off.Student.Network)
                    "the student moved"
            }

            test
                "weights by strain and the distance of derivatives count, beside an objective too, and are reported" {
                for objective in [ FieldDistance; Critic ] do
                    let after change =
                        let b = bench objective

                        let options =
                            change
                                { distillation objective with
                                    FieldDistance = 1.0
                                }

                        let adversary =
                            { b.Adversary with
                                Distillation = options
                            }

                        use _ = torch.NewDisposeScope()

                        let report =
                            Aldk.studentStep b.Student silent None (Some adversary) 0 (b.Iteration 0.0)

                        values b.Student.Network, report

                    let plain, _ = after id
                    let weighted, _ = after (fun d -> { d with FieldWeights = Strain })
                    let content, _ = after (fun d -> { d with FieldWeights = Content })
                    Expect.notEqual content plain "by content"
                    Expect.notEqual content weighted "which is not strain"
                    let derived, report = after (fun d -> { d with FieldDerivatives = 1.0 })
                    Expect.notEqual weighted plain "by strain"
                    Expect.notEqual derived plain "with derivatives"
                    Expect.isGreaterThan (find "field_derivatives" report) 0.0 "reported"
            }

            test "with no objective the student learns as if it had no teacher" {
                let alone, off = bench FieldDistance, bench Off

                for step in 0..2 do
                    use _ = torch.NewDisposeScope()
                    Aldk.step alone.Student silent None None step (alone.Iteration 1.0) |> ignore

                    Aldk.step off.Student silent None (Some off.Adversary) step (off.Iteration 0.3)
                    |> ignore

                Expect.equal (values off.Student.Network) (values alone.Student.Network) "to the bit"
            }

            test "reconstruction steps raise the similarity" {
                let b = bench SquaredGap

                let losses =
                    [
                        for step in 0..40 do
                            use _ = torch.NewDisposeScope()

                            Aldk.step b.Student silent None None step (b.Iteration 1.0) |> find "similarity"
                    ]

                Expect.isLessThan (List.last losses) (0.8 * losses.Head) "1 − correlation falls by a fifth"
            }

            test "with labels, Dice is a part of the loss and rises" {
                let b = bench Off
                let fixedLabels = (image 6).gt(0.5.ToScalar()).``to`` torch.float32
                let movingLabels = (image 7).gt(0.5.ToScalar()).``to`` torch.float32

                let step index =
                    use _ = torch.NewDisposeScope()

                    let iteration =
                        { (b.Iteration 1.0).Head with
                            Labels = Some(fixedLabels, movingLabels)
                        }

                    Aldk.studentStep b.Student { silent with Dice = 10.0 } None None index [ iteration ]
                    |> find "dice_loss"

                let losses = List.init 41 step
                Expect.isLessThan (List.last losses) (0.95 * losses.Head) "1 − Dice falls"
            }

            test "the weight of log² J is a factor of the student's loss, and 0 leaves it out" {
                let after weight =
                    let b = bench Off
                    use _ = torch.NewDisposeScope()

                    let report =
                        Aldk.studentStep
                            b.Student
                            { silent with LogJacobian = weight }
                            None
                            None
                            0
                            (b.Iteration 1.0)

                    report, values b.Student.Network

                let without, alone = after 0.0
                Expect.isFalse (without |> List.map fst |> List.contains "log_jacobian") "not worked out"

                for weight in [ 0.5; 3.0 ] do
                    let report, weights = after weight
                    let term = find "log_jacobian" report
                    Expect.isGreaterThan term 1e-4 "there is something to see"

                    Expect.floatClose
                        Accuracy.medium
                        (find "loss" report)
                        (find "similarity" report + weight * term)
                        "the loss"

                    Expect.notEqual weights alone "the student moves otherwise"
            }

            test "the penalty on log² J is on the total field, and falls" {
                let b = bench Off
                use _ = torch.NewDisposeScope()
                let expected = Regularity.logJacobian (b.Iteration 1.0).Head.Student.Value.Field

                let terms =
                    [
                        for step in 0..30 do
                            use _ = torch.NewDisposeScope()

                            Aldk.studentStep
                                b.Student
                                { silent with LogJacobian = 10.0 }
                                None
                                None
                                step
                                (b.Iteration 1.0)
                            |> find "log_jacobian"
                    ]

                Expect.floatClose Accuracy.medium terms.Head (number expected) "the first"
                Expect.isLessThan (List.last terms) (0.5 * terms.Head) "it falls"
            }

            test
                "the weight of the depth in labels is a factor of the student's loss, and the depths are moved" {
                let b = bench Off
                let depths seed = image seed * 2.0 - 1.0
                let fixedDepths, movingDepths = depths 6, depths 7

                let step weight depths =
                    let b = bench Off
                    use _ = torch.NewDisposeScope()

                    let iteration =
                        { (b.Iteration 1.0).Head with
                            Depths = depths
                        }

                    let expected =
                        Similarity.depthDifference
                            fixedDepths
                            (Field.warp iteration.Student.Value.Field movingDepths)
                        |> number

                    let report =
                        Aldk.studentStep
                            b.Student
                            { silent with LabelDistance = weight }
                            None
                            None
                            0
                            [ iteration ]

                    report, values b.Student.Network, expected

                let without, alone, _ = step 2.0 None

                Expect.isFalse
                    (without |> List.map fst |> List.contains "label_distance")
                    "no labels, no term"

                for weight in [ 2.0; 7.0 ] do
                    let report, weights, expected = step weight (Some(fixedDepths, movingDepths))

                    Expect.floatClose
                        Accuracy.medium
                        (find "label_distance" report)
                        expected
                        "moved by the field"

                    Expect.floatClose
                        Accuracy.medium
                        (find "loss" report)
                        (find "similarity" report + weight * expected)
                        "the loss"

                    Expect.notEqual weights alone "the student moves otherwise"

                let falling =
                    [
                        for index in 0..40 do
                            use _ = torch.NewDisposeScope()

                            let iteration =
                                { (b.Iteration 1.0).Head with
                                    Depths = Some(fixedDepths, movingDepths)
                                }

                            Aldk.studentStep
                                b.Student
                                { silent with LabelDistance = 10.0 }
                                None
                                None
                                index
                                [ iteration ]
                            |> find "label_distance"
                    ]

                Expect.isLessThan (List.last falling) (0.95 * falling.Head) "it falls"
            }

            test "the discriminator's loss is its term and λ times the penalty, and so is its gradient" {
                let moved (penalty: float) =
                    let b = bench Critic

                    let options =
                        { b.Adversary.Distillation with
                            Penalty = penalty
                        }

                    let report = Aldk.discriminatorStep b.Judge options 0 (b.Iteration 0.3)

                    // The critic raises the teacher's mean and lowers the student's.
                    let term = find "judged_student" report - find "judged_teacher" report

                    Expect.floatClose
                        Accuracy.low
                        (find "discriminator" report)
                        (term + penalty * find "penalty" report)
                        $"λ = {penalty}"

                    find "penalty" report, gradients b.Judge.Network

                let penalty, without = moved 0.0
                let _, one = moved 1.0
                let _, three = moved 3.0
                Expect.isGreaterThan penalty 1e-3 "there is a penalty"

                let change (a: float[]) (b: float[]) = Array.map2 (-) a b

                let length (v: float[]) =
                    v |> Array.sumBy (fun x -> x * x) |> sqrt

                let first, all = change one without, change three without
                Expect.isGreaterThan (length first) (1e-3 * length without) "the penalty has a gradient"

                Expect.isLessThan
                    (length (change all (first |> Array.map ((*) 3.0))))
                    (1e-3 * length all)
                    "three times as much with three times λ"
            }

            test "β is the teacher's share of the field that the penalty is taken on" {
                let norm beta =
                    let b = bench Critic

                    let options =
                        { b.Adversary.Distillation with
                            Beta = beta
                        }

                    Aldk.discriminatorStep b.Judge options 0 (b.Iteration 0.3)
                    |> find "gradient_norm"

                let b = bench Critic
                let iteration = (b.Iteration 0.3).Head
                let student, teacher = iteration.StudentField.Value, iteration.TeacherField.Value
                let images = torch.cat ([| iteration.Fixed; iteration.Moving |], 1L)

                let expected field =
                    Discrimination.normalise teacher field
                    |> Discrimination.gradientNorm (fun place ->
                        Discrimination.mean (b.Judge.Network.Judge(images, place)))
                    |> number

                Expect.floatClose Accuracy.low (norm 0.0) (expected student) "0: the student's"
                Expect.floatClose Accuracy.low (norm 1.0) (expected teacher) "1: the teacher's"
                Expect.isGreaterThan (abs (norm 0.0 / norm 1.0 - 1.0)) 1e-3 "they differ"
            }

            test "the student's loss is the sum of its terms, each with its weights" {
                let b = bench PatchGap
                let student = cascaded ()
                let fixedImage, moving = image 4, image 5
                let prediction = lazy student.Predict(fixedImage, moving)
                let gamma, fieldWeight, derivativeWeight, objectiveWeight = 0.3, 1.7, 0.6, 40.0
                let lambda = 0.02

                let weights =
                    [
                        "similarity", gamma
                        "dice_loss", gamma * 0.4
                        "label_distance", gamma * 3.5
                        "objective", (1.0 - gamma) * objectiveWeight
                        "student_penalty", (1.0 - gamma) * objectiveWeight * lambda
                        "field_distance", (1.0 - gamma) * fieldWeight
                        "field_derivatives", (1.0 - gamma) * fieldWeight * derivativeWeight
                        "smoothness", 0.7
                        "bending", 0.3
                        "log_jacobian", 0.2
                        "inverse_consistency", 0.05
                        "determinant", 0.15
                        "orthogonality", 0.25
                    ]

                let options =
                    {
                        Similarity = Correlation
                        Smoothness = 0.7
                        Bending = 0.3
                        LogJacobian = 0.2
                        InverseConsistency = 0.05
                        Determinant = 0.15
                        Orthogonality = 0.25
                        Dice = 0.4
                        LabelDistance = 3.5
                    }

                let adversary =
                    { b.Adversary with
                        Distillation =
                            { b.Adversary.Distillation with
                                Weight = objectiveWeight
                                Penalty = lambda
                                PenaltyPlayers = BothPlayers
                                FieldDistance = fieldWeight
                                FieldDerivatives = derivativeWeight
                            }
                    }

                let iteration =
                    { (b.Iteration gamma).Head with
                        Student = prediction
                        Labels = Some(maps 20, maps 22)
                        Depths = Some(maps 24, maps 26)
                    }

                let expectedSmoothness =
                    use _ = torch.no_grad ()

                    student.Predict(fixedImage, moving).StageFields
                    |> List.map (Regularity.smoothness >> number)

                let learner: Learner<Network> =
                    {
                        Network = student
                        Optimiser = torch.optim.Adam(student.parameters (), 1e-3)
                        Ranks = Ranks.alone
                    }

                let report = Aldk.studentStep learner options None (Some adversary) 0 [ iteration ]
                let loss = find "loss" report

                for name, weight in weights do
                    Expect.isGreaterThan (abs (weight * find name report)) (2e-4 * abs loss) $"{name} counts"

                let sum = weights |> List.sumBy (fun (name, weight) -> weight * find name report)
                Expect.isLessThan (abs (loss - sum)) (2e-5 * abs loss) "the sum"

                Expect.equal expectedSmoothness.Length 2 "a field of each stage"

                Expect.floatClose
                    Accuracy.low
                    (find "smoothness" report)
                    (List.sum expectedSmoothness)
                    "every stage's own field"
            }

            test
                "the distance to the teacher's field is in the teacher's units, and counts what its weights say" {
                let b = bench FieldDistance
                let mask = torch.ones size
                mask.narrow(2L, 0L, 16L).zero_() |> ignore

                let iteration =
                    { (b.Iteration 0.0).Head with
                        Mask = mask
                    }

                let student, teacher =
                    use _ = torch.no_grad ()
                    numbers iteration.StudentField.Value, numbers iteration.TeacherField.Value

                let count = student.Length / 3

                let lengths =
                    Array.init count (fun i ->
                        Seq.sum (
                            seq { for c in 0..2 -> (student[c * count + i] - teacher[c * count + i]) ** 2.0 }
                        ))

                // The mean squared length of the teacher's vectors.
                let unit = (teacher |> Array.sumBy (fun v -> v * v)) / float count

                let content = numbers (Discrimination.content mask iteration.Fixed)

                let distance (weights: FieldWeights) =
                    let options =
                        { b.Adversary.Distillation with
                            FieldWeights = weights
                        }

                    let fresh = bench FieldDistance

                    Aldk.studentStep
                        fresh.Student
                        silent
                        None
                        (Some
                            { fresh.Adversary with
                                Distillation = options
                            })
                        0
                        [
                            { (fresh.Iteration 0.0).Head with
                                Mask = mask
                            }
                        ]
                    |> find "objective"

                Expect.floatClose Accuracy.low (distance Even) (Array.average lengths / unit) "all alike"

                Expect.floatClose
                    Accuracy.low
                    (distance Content)
                    (Array.average (Array.map2 (*) lengths content) / unit)
                    "content alone"
            }

            test "a gradient is cut to its norm" {
                let b = bench Off

                let norm clip =
                    use _ = torch.NewDisposeScope()
                    Aldk.studentStep b.Student silent clip None 0 (b.Iteration 1.0) |> ignore

                    b.Student.Network.parameters ()
                    |> Seq.sumBy (fun p -> float ((nonNull p.grad).square().sum().item<float32>()))
                    |> sqrt

                Expect.isGreaterThan (norm None) 1e-3 "as it is"
                Expect.floatClose Accuracy.medium (norm (Some 1e-4)) 1e-4 "cut"
            }

            for name, step in
                [
                    "student", (fun b -> Aldk.studentStep b.Student silent None (Some b.Adversary))
                    "discriminator", (fun b -> Aldk.discriminatorStep b.Judge b.Adversary.Distillation)
                    // All that the network predicts counts: TorchSharp counts a gradient that is not there as one that stays alive.
                    "reconstruction", (fun b -> Aldk.studentStep b.Student speaking (Some 1.0) None)
                ] do
                test $"the {name} step leaves no tensor behind" {
                    let b = bench FeatureGap
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
