namespace Ldr.Runtime.Training;

/// <summary>Where pairs of images [Z, Y, X] lie: those of the first sample, and how far it is to the next sample's.</summary>
internal readonly unsafe struct PairMemory(float* fixedImage, float* moved, nint sampleStep)
{
    internal float* Fixed => fixedImage;

    internal float* Moved => moved;

    internal nint SampleStep => sampleStep;

    /// <summary>Pairs in one block, [N, 2, Z, Y, X].</summary>
    /// <param name="pairs">The block.</param>
    /// <param name="voxels">Of an image.</param>
    internal static PairMemory Joined(float* pairs, nint voxels) => new(pairs, pairs + voxels, 2 * voxels);
}
