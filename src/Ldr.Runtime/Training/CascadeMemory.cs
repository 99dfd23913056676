namespace Ldr.Runtime.Training;

/// <summary>What follows the head of a student's stage.</summary>
internal enum StageEnding
{
    /// <summary>Nothing: the field is at full size.</summary>
    Full,

    /// <summary>The field is doubled.</summary>
    Half,

    /// <summary>The field that flows from a stationary velocity is doubled.</summary>
    Velocity,
}

/// <summary>Two images [N, 1, Z, Y, X].</summary>
internal readonly unsafe struct ImagePair(float* fixedImage, float* moving)
{
    internal float* Fixed => fixedImage;

    internal float* Moving => moving;
}

/// <summary>W [N, 3, 3] and b [N, 3] of x ↦ (W + I) x + b, x in voxels from the centre of the grid.</summary>
internal readonly unsafe struct AffineNumbers(float* matrix, float* shift)
{
    internal bool Exists => matrix != null;

    internal float* Matrix => matrix;

    internal float* Shift => shift;
}

/// <summary>The gradients of a cascade's results (null: none), and where those of its affine map go.</summary>
internal sealed unsafe class CascadeGradients(int stages)
{
    private readonly float*[] own = new float*[stages];

    /// <summary>By the total field.</summary>
    internal float* Total { get; set; }

    /// <summary>By the moved image.</summary>
    internal float* Moved { get; set; }

    /// <summary>By a stage's own field.</summary>
    internal float* Own(int stage) => own[stage];

    /// <summary>Sets it.</summary>
    internal void SetOwn(int stage, float* gradient) => own[stage] = gradient;

    /// <summary>Takes that by W.</summary>
    internal float* Matrix { get; set; }

    /// <summary>Takes that by b.</summary>
    internal float* Shift { get; set; }
}
