using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>How two scans are laid over each other as a whole, before anything is deformed.</summary>
public abstract record Prealignment
{
    private Prealignment()
    {
    }

    /// <summary>
    /// As the model was trained. Without a model: by the headers. By the grids' centres where the scans hardly overlap.
    /// </summary>
    public static Prealignment Default { get; } = new ByHeader(null);

    /// <summary>By the headers, or by the grids' centres where the scans hardly overlap.</summary>
    public static Prealignment World { get; } = new ByHeader(Alignment.World);

    /// <summary>By the grids' centres.</summary>
    public static Prealignment Centres { get; } = new ByHeader(Alignment.Centres);

    /// <summary>Rotation and translation, optimised.</summary>
    public static Prealignment Rigid { get; } = new Optimised(AffineFreedom.Rigid);

    /// <summary>All 12 numbers, optimised.</summary>
    public static Prealignment Full { get; } = new Optimised(AffineFreedom.Full);

    /// <summary>All 12 numbers, optimised, and kept where that helps.</summary>
    public static Prealignment Auto { get; } = new WhereItHelps();

    /// <summary>By the headers in one of the ways that a model knows; null: as the model was trained.</summary>
    /// <param name="Alignment">The way.</param>
    public sealed record ByHeader(Alignment? Alignment) : Prealignment;

    /// <summary>By optimisation.</summary>
    /// <param name="Freedom">Which maps are allowed.</param>
    public sealed record Optimised(AffineFreedom Freedom) : Prealignment;

    /// <summary>By optimisation of all 12 numbers, kept where that helps.</summary>
    public sealed record WhereItHelps : Prealignment;

    /// <summary>As given.</summary>
    /// <param name="Map">From the fixed world to the moving world, mm.</param>
    public sealed record Given(Affine Map) : Prealignment;
}

/// <summary>Bounds of a deformation's Jacobian determinants.</summary>
/// <param name="Least">The least determinant that a voxel keeps, <see cref="DiffeomorphicFit.LeastDeterminant"/> to below 1.</param>
/// <param name="Most">The largest, above 1.</param>
public readonly record struct JacobianBounds(double Least, double Most)
{
    /// <summary>No folds, and nothing else.</summary>
    public static JacobianBounds NoFolds { get; } = new(DiffeomorphicFit.LeastDeterminant, double.PositiveInfinity);
}

/// <summary>What <see cref="Registrar"/> does with a pair beside running a network on it.</summary>
public sealed record RegistrationOptions
{
    /// <summary>How the scans are laid over each other first.</summary>
    public Prealignment Prealignment { get; init; } = Prealignment.Default;

    /// <summary>
    /// Where an optimised alignment starts, or the alignment itself where none is asked for: fixed world to moving world, mm.
    /// </summary>
    public Affine? Start { get; init; }

    /// <summary>A deformation to go on from, on any grid; only without a network.</summary>
    public DisplacementField? StartField { get; init; }

    /// <summary>
    /// How the deformation is refined for this pair. Null: with the standard options without a network, not at all with one. No
    /// refinement: <see cref="RefinementOptions.None"/>. Masks and threads of the pair go before those that stand here.
    /// </summary>
    public RefinementOptions? Refinement { get; init; }

    /// <summary>Where the fixed scan counts (above 0), on its grid; everywhere when null.</summary>
    public Volume? FixedMask { get; init; }

    /// <summary>Where the moving scan counts (above 0), on its grid; everywhere when null.</summary>
    public Volume? MovingMask { get; init; }

    /// <summary>
    /// At the end the deformation is brought to one whose Jacobian determinants are within these bounds, see
    /// <see cref="DiffeomorphicFit"/>; null: it is left as it is.
    /// </summary>
    public JacobianBounds? Diffeomorphic { get; init; }

    /// <summary>
    /// Whether the result is judged at once. Where not, <see cref="RegistrationResult.Quality"/> does it when it is asked for.
    /// </summary>
    public bool Check { get; init; } = true;

    /// <summary>
    /// How many threads at most, beside the predictor's own; 0 for all. The result does not depend on it.
    /// </summary>
    public int Threads { get; init; }

    /// <summary>The same with the masks of a pair, for languages without <c>with</c> on records.</summary>
    /// <param name="fixedMask">As <see cref="FixedMask"/>.</param>
    /// <param name="movingMask">As <see cref="MovingMask"/>.</param>
    public RegistrationOptions WithMasks(Volume? fixedMask, Volume? movingMask) =>
        this with { FixedMask = fixedMask, MovingMask = movingMask };
}

/// <summary>A part of a registration.</summary>
public enum RegistrationStage
{
    /// <summary>The scans are aligned as a whole.</summary>
    Aligning,

    /// <summary>The network predicts the deformation.</summary>
    Predicting,

    /// <summary>The deformation is refined for this pair.</summary>
    Refining,

    /// <summary>The deformation is brought within bounds of its Jacobian determinants.</summary>
    Unfolding,

    /// <summary>The moving scan is resampled.</summary>
    Resampling,

    /// <summary>The result is judged.</summary>
    Checking,
}

/// <summary>What a registration does now.</summary>
/// <param name="Stage">The part.</param>
/// <param name="Level">While refining: the level that begins, 0 is the finest; null when the stage itself begins.</param>
public readonly record struct RegistrationProgress(RegistrationStage Stage, int? Level = null);
