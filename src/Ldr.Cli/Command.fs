namespace Ldr.Cli

open Ldr.Runtime

/// What computes a registration.
type EngineChoice =
    /// Ours, where it runs the model's network; libtorch otherwise.
    | Automatic
    | ManagedEngine
    | TorchEngine

/// How the scans are laid over each other first.
type AffineRequest =
    /// As named; nothing means as the model was trained.
    | Header of Alignment option
    | Optimise of AffineFreedom
    | KeepWhereItHelps
    | FromFile of string

/// One pair to register: the files that are read and written.
type RegisterOptions =
    {
        Fixed: string
        Moving: string
        /// Nothing for a registration without a network.
        Model: string option
        Moved: string option
        Transform: string option
        InverseTransform: string option
        /// The moving scan's label map, and where the moved one goes.
        Labels: (string * string option) option
        /// The fixed scan's label map, to compare with.
        FixedLabels: string option
        Affine: AffineRequest
        Init: string option
        /// Gradient steps at each level.
        Refine: int option
        BudgetSeconds: float option
        /// Between the control points of the refinement, mm.
        ControlSpacingMm: float option
        /// The weight of the refinement's penalty on changes of volume.
        LogJacobian: float option
        /// Bring the deformation to one without folds.
        /// With these bounds of its Jacobian determinants.
        Diffeomorphic: (float * float) option
        FixedMask: string option
        MovingMask: string option
        Volume: int option
        /// The page that shows the result.
        Report: string option
        Engine: EngineChoice
    }

    /// Whether nothing but an affine map comes out.
    member this.IsAlignmentOnly =
        this.Model.IsNone && this.Refine = Some 0 && this.Diffeomorphic.IsNone

/// What is scored, on what.
type EvaluateOptions =
    {
        /// Nothing: alignment and refinement without a network.
        Model: string option
        Data: string
        /// `test`, `val`, `train` or `all`.
        Split: string
        Output: string option
        Seed: int
        Pairs: int
        /// Gradient steps of a refinement after the model.
        Refine: int option
        ControlSpacingMm: float option
        /// Whether every pair is registered the other way round too.
        Inverse: bool
        /// Scans that are registered to themselves, warped by a known field.
        KnownField: KnownFieldOptions option
        /// The verdict is tried, with these scans of something else.
        Verdict: string list option
        Engine: EngineChoice
    }

/// What the user asked for, as plain data.
[<NoEquality; NoComparison>]
type Command =
    | Register of RegisterOptions
    | Evaluate of EvaluateOptions
    | Call of Call

/// A command, and how it is to be carried out.
[<NoEquality; NoComparison>]
type Request =
    {
        Command: Command
        Threads: int option
        Cuda: bool
        Json: bool
        Verbose: bool
        /// The arguments as they were given.
        CommandLine: string list
    }
