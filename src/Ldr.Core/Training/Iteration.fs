namespace Ldr

open TorchSharp
open type TorchSharp.torch.optim
open Ldr.Runtime.Geometry

/// A batch and what is predicted of it, when it is first asked for. A step works on one or more, one after the other, and adds
/// their gradients up.
[<NoEquality; NoComparison>]
type Iteration =
    {
        Turn: Turn
        Clock: StepClock
        /// [N, 1, Z, Y, X], intensities in [0, 1].
        Fixed: torch.Tensor
        Moving: torch.Tensor
        /// 1 inside the fixed scan.
        Mask: torch.Tensor
        /// Label maps of the fixed and the moving image, a channel for each label, [N, L, Z, Y, X]; where Dice counts.
        Labels: (torch.Tensor * torch.Tensor) option
        /// How deep voxels lie in each label, in units of `TrainingSet.mostDepth`; where that counts.
        Depths: (torch.Tensor * torch.Tensor) option
        Student: Lazy<Prediction>
        /// What the student says of the pair turned round; only where that counts is it asked.
        TurnedRound: Lazy<Prediction>
        /// The student's total field without its history, for the discriminator.
        StudentField: Lazy<torch.Tensor>
        /// The frozen teacher's total field for the same pair.
        TeacherField: Lazy<torch.Tensor>
    }

module Iteration =
    /// A batch of two images [N, 1, Z, Y, X] with intensities in [0, 1], a student and its teacher; every voxel counts, and there
    /// are no labels. The tensors that are predicted belong to the dispose scope in which they are first asked for.
    let ofTensors
        (turn: Turn)
        (student: Network)
        (teacher: Network)
        (fixedImage: torch.Tensor)
        (moving: torch.Tensor)
        : Iteration =
        let prediction = lazy student.Predict(fixedImage, moving)

        {
            Turn = turn
            Clock = StepClock()
            Fixed = fixedImage
            Moving = moving
            Mask = torch.ones_like fixedImage
            Labels = None
            Depths = None
            Student = prediction
            TurnedRound = lazy student.Predict(moving, fixedImage)
            StudentField = lazy prediction.Value.Field.detach ()
            TeacherField =
                lazy
                    (use _ = torch.no_grad ()
                     teacher.Predict(fixedImage, moving).Field)
        }

    /// The same of two scans on one grid, with intensities in [0, 1] (`IntensityRule.Apply`), on the processor. A student
    /// without a teacher may stand for its own.
    let ofVolumes
        (turn: Turn)
        (student: Network)
        (teacher: Network)
        (fixedScan: Volume)
        (moving: Volume)
        : Iteration =
        let tensor (scan: Volume) =
            let grid = scan.Grid
            Bridge.toTensor torch.CPU [| 1L; 1L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |] scan.Values

        ofTensors turn student teacher (tensor fixedScan) (tensor moving)

/// A network with its optimiser.
[<NoEquality; NoComparison>]
type Learner<'network when 'network :> torch.nn.Module> =
    {
        Network: 'network
        Optimiser: Modules.Adam
        /// The processes that move copies of it by one gradient.
        Ranks: Ranks
    }

module Learner =
    /// A network with an Adam of its own; the rate is that of every step, unless it is set.
    let adam (rate: float) (network: 'network) : Learner<'network> =
        {
            Network = network
            Optimiser = torch.optim.Adam(network.parameters (), rate)
            Ranks = Ranks.alone
        }
